#pragma once

#include <ATen/core/ivalue.h>
#include <caffe2/serialize/inline_container.h>

namespace mpelu::serialize {

/// Whether archives can hold tensors of this dtype that every torch reads.
bool can_hold(at::ScalarType dtype);

/// What an archive of torch.save holds, as far as state dicts need it: dicts (an OrderedDict is
/// one, its attributes are dropped) of strings, integers, bools, None and tensors, which are put on
/// the CPU. torch::pickle_load does not serve: it reads an OrderedDict as None.
///
/// Nothing in the file is executed. Throws c10::Error if it is damaged or holds anything else.
c10::IValue unpickle(caffe2::serialize::PyTorchStreamReader& archive);

}  // namespace mpelu::serialize
