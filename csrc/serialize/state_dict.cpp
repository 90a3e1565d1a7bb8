#include <ATen/core/Dict.h>
#include <c10/util/StringUtil.h>
#include <mpelu/serialize.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/pickler.h>

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "serialize/unpickler.h"

namespace mpelu {

namespace {

/// Name to tensor, in order.
using StateDict = c10::Dict<std::string, at::Tensor>;

StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& entries : {module.named_parameters(), module.named_buffers()}) {
    for (const auto& entry : entries) {
      state.insert(entry.key(), entry.value().detach());
    }
  }
  return state;
}

/// Calls a function, and names the file in the error that it may throw.
template <typename Function>
auto with_path(const char* action, const std::string& path, const Function& function) {
  try {
    return function();
  } catch (const c10::Error& error) {
    TORCH_CHECK(false, "cannot ", action, " '", path, "': ", error.what_without_backtrace());
  }
}

StateDict read_state_dict(const std::string& path) {
  caffe2::serialize::PyTorchStreamReader archive(path);
  const auto value = serialize::unpickle(archive);
  TORCH_CHECK(value.isGenericDict(), "it does not hold a state dict");
  StateDict state;
  for (const auto& entry : value.toGenericDict()) {
    TORCH_CHECK(entry.key().isString(), "it does not hold a state dict");
    const auto& name = entry.key().toStringRef();
    TORCH_CHECK(entry.value().isTensor(), "it does not hold a flat state dict: '", name,
                "' is not a tensor");
    state.insert(name, entry.value().toTensor());
  }
  return state;
}

void write_state_dict(const StateDict& state, const std::string& path) {
  std::string pickled;
  torch::jit::Pickler pickler(
      [&](const char* bytes, size_t size) { pickled.append(bytes, size); },
      /*tensor_table=*/nullptr, /*type_renamer=*/nullptr, /*memoized_class_types=*/nullptr,
      /*get_tensor_id=*/nullptr,
      // Type tags, which torch::pickle_save writes, are refused by torch.load(weights_only=True).
      /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(state);
  pickler.stop();

  std::ofstream file(path, std::ios::binary);
  TORCH_CHECK(file, std::strerror(errno));
  // The archive does not hear of a failure: its destructor would throw, and end the program.
  caffe2::serialize::PyTorchStreamWriter archive([&](const void* bytes, size_t size) {
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    return size;
  });
  torch::jit::writeArchiveAndTensors("data", pickled.data(), pickled.size(), pickler.tensorData(),
                                     archive);
  archive.writeEndOfFile();
  file.close();
  TORCH_CHECK(file, std::strerror(errno));
}

/// Calls write(path) with another path beside the given one, or beside what that is a link to, and
/// then puts the file in its place, with the permissions of the one before: a failure leaves what
/// was there. What is no plain file, such as a device, is written itself.
template <typename Write>
void write_aside(const std::string& path, const Write& write) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto status = fs::status(path, error);
  const bool is_there = fs::exists(status);
  if (is_there ? !fs::is_regular_file(status) : fs::is_symlink(fs::symlink_status(path, error))) {
    return write(path);
  }
  fs::path target = path;
  if (is_there) {
    target = fs::canonical(path, error);
    TORCH_CHECK(!error, error.message());
  }
  // A name of its own for each file that is being written, also by this machine's other processes;
  // the first 200 bytes of the file's leave room for the rest.
  static std::atomic<uint64_t> count = 0;
  const std::string part =
      target.parent_path() /
      c10::str(target.filename().string().substr(0, 200), ".", ::getpid(), "-", count++, ".part");
  try {
    write(part);
    if (is_there) {
      fs::permissions(part, status.permissions(), error);  // not every file system has them
    }
    fs::rename(part, target, error);
    TORCH_CHECK(!error, error.message());
  } catch (...) {
    fs::remove(part, error);
    throw;
  }
}

/// The keys of one dict that another one lacks.
std::vector<std::string> keys_not_in(const StateDict& state, const StateDict& other) {
  std::vector<std::string> keys;
  for (const auto& entry : state) {
    if (!other.contains(entry.key())) {
      keys.push_back("'" + entry.key() + "'");
    }
  }
  return keys;
}

}  // namespace

void save_state_dict(const torch::nn::Module& module, const std::string& path) {
  StateDict state = state_dict(module);
  for (const auto& entry : state) {
    const auto& tensor = entry.value();
    TORCH_CHECK(tensor.layout() == at::kStrided && serialize::can_hold(tensor.scalar_type()),
                "cannot write '", path, "': '", entry.key(), "' is a tensor of ",
                tensor.scalar_type(), ", ", tensor.layout());
    entry.setValue(tensor.cpu());
  }
  with_path("write", path, [&] {
    write_aside(path, [&](const std::string& to) { write_state_dict(state, to); });
  });
}

void load_state_dict(torch::nn::Module& module, const std::string& path, bool strict) {
  const StateDict target = state_dict(module);
  const StateDict source = with_path("read", path, [&] { return read_state_dict(path); });

  std::vector<std::string> problems;
  const auto report = [&](const char* what, const std::vector<std::string>& items) {
    if (!items.empty()) {
      problems.push_back(c10::str(what, c10::Join(", ", items)));
    }
  };
  if (strict) {
    report("missing keys: ", keys_not_in(target, source));
    report("unexpected keys: ", keys_not_in(source, target));
  }
  std::vector<std::string> mismatches;
  for (const auto& entry : target) {
    const auto found = source.find(entry.key());
    if (found != source.end() && found->value().sizes() != entry.value().sizes()) {
      mismatches.push_back(c10::str("'", entry.key(), "' is ", found->value().sizes(),
                                    " in the file and ", entry.value().sizes(), " in the module"));
    }
  }
  report("different shapes: ", mismatches);
  TORCH_CHECK(problems.empty(), "the state dict in '", path,
              "' does not fit the module: ", c10::Join("; ", problems));

  for (const auto& entry : target) {
    const auto found = source.find(entry.key());
    if (found != source.end()) {
      entry.value().copy_(found->value());
    }
  }
}

}  // namespace mpelu
