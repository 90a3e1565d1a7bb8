#pragma once

/// The whole public C++ API of mpelu.

#include <mpelu/init.h>
#include <mpelu/nn.h>
#include <mpelu/ops.h>
#include <mpelu/optim.h>
#include <mpelu/serialize.h>
