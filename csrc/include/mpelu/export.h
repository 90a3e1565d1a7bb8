#pragma once

/// Marks what libmpelu exports; everything else in it is hidden.
#define MPELU_API __attribute__((visibility("default")))
