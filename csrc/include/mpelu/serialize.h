#pragma once

#include <mpelu/export.h>
#include <torch/nn/module.h>

#include <string>

/// Checkpoints that C++ and Python both read: the files of Python's
/// `torch.save(model.state_dict(), path)`. For checkpoints between C++ programs alone, torch::save
/// and torch::load work as for every module.
namespace mpelu {

/// Writes a module's parameters and buffers to a file that Python reads with
/// `model.load_state_dict(torch.load(path))`. Tensors are written from the CPU, whatever their
/// device.
///
/// Throws c10::Error if the file cannot be written, and leaves one that was there as it was; or if
/// a tensor is sparse, quantised or of a dtype that torch has no storage class for, as float8.
MPELU_API void save_state_dict(const torch::nn::Module& module, const std::string& path);

/// Copies the tensors of a file, written by `save_state_dict` or by Python's
/// `torch.save(model.state_dict(), path)`, into a module's parameters and buffers, which keep their
/// dtype and device.
///
/// Throws c10::Error, with the module untouched, if the file cannot be read or is not a state dict,
/// if a shape differs, or, where strict, if keys are missing or unexpected; they are named.
MPELU_API void load_state_dict(torch::nn::Module& module, const std::string& path,
                               bool strict = true);

}  // namespace mpelu
