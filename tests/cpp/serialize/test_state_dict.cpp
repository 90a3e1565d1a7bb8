#include <caffe2/serialize/inline_container.h>
#include <mpelu/nn.h>
#include <mpelu/serialize.h>
#include <torch/torch.h>

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "../catch.h"

namespace {

/// A path for a file that goes when the test ends.
class TemporaryFile {
 public:
  TemporaryFile() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("mpelu_test_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".pt");
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

  /// Other files whose names begin with this one's.
  int64_t files_beside() const {
    return std::ranges::count_if(
        std::filesystem::directory_iterator(path_.parent_path()), [&](const auto& entry) {
          return entry.path() != path_ && entry.path().string().starts_with(path());
        });
  }

 private:
  std::filesystem::path path_;
};

/// As long as it lives, no file can be written past so many bytes, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

torch::nn::Sequential model(at::ScalarType dtype = at::kFloat) {
  torch::nn::Sequential net(
      torch::nn::Conv2d(3, 4, 3), torch::nn::BatchNorm2d(4), mpelu::nn::MPELU(4),
      mpelu::nn::BatchNormMPELU2d(4), torch::nn::Flatten(),
      torch::nn::Linear(torch::nn::LinearOptions(16, 2).bias(false)), mpelu::nn::SPELU());
  net->to(dtype);
  return net;
}

/// Every parameter and buffer by its name.
std::vector<std::pair<std::string, at::Tensor>> state(torch::nn::Sequential net) {
  auto entries = net->named_parameters().pairs();
  for (const auto& buffer : net->named_buffers().pairs()) {
    entries.push_back(buffer);
  }
  return entries;
}

void check_equal(torch::nn::Sequential actual, torch::nn::Sequential expected) {
  const auto entries = state(expected);
  for (const auto& [name, tensor] : state(actual)) {
    CATCH_CAPTURE(name);
    const auto found =
        std::find_if(entries.begin(), entries.end(),
                     [&, key = name](const auto& entry) { return entry.first == key; });
    CATCH_REQUIRE(found != entries.end());
    CATCH_CHECK(at::equal(tensor, found->second));
  }
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

CATCH_TEST_CASE("a state dict keeps every parameter and buffer of any dtype", "[serialize]") {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    CATCH_CAPTURE(dtype);
    const TemporaryFile file;
    auto saved = model(dtype);
    saved->forward(torch::randn({2, 3, 4, 4}, dtype));  // Changes the running statistics.
    mpelu::save_state_dict(*saved, file.path());
    auto loaded = model(dtype);
    mpelu::load_state_dict(*loaded, file.path());
    check_equal(loaded, saved);
  }
}

CATCH_TEST_CASE("loading keeps the module's dtype, tensors and requires_grad", "[serialize]") {
  const TemporaryFile file;
  mpelu::save_state_dict(*model(at::kDouble), file.path());
  auto loaded = model();
  const auto before = loaded->parameters();
  mpelu::load_state_dict(*loaded, file.path());
  const auto after = loaded->parameters();
  for (size_t i = 0; i < before.size(); ++i) {
    CATCH_CHECK(after[i].is_same(before[i]));
    CATCH_CHECK(after[i].scalar_type() == at::kFloat);
    CATCH_CHECK(after[i].requires_grad());
  }
}

CATCH_TEST_CASE("views and empty tensors are written and read as they are", "[serialize]") {
  const TemporaryFile file;
  const auto make = [] {
    auto net = std::make_shared<torch::nn::Module>();
    const auto storage = torch::randn({4, 6});
    net->register_buffer("transposed", storage.t());
    net->register_buffer("slice", storage.slice(1, 1, 6, 2));
    net->register_buffer("empty", torch::empty({0, 3}));
    return net;
  };
  const auto saved = make();
  const auto loaded = make();
  mpelu::save_state_dict(*saved, file.path());
  mpelu::load_state_dict(*loaded, file.path());
  for (const auto& buffer : saved->named_buffers()) {
    CATCH_CHECK(at::equal(loaded->named_buffers()[buffer.key()], buffer.value()));
  }
}

CATCH_TEST_CASE("conjugate and negative views are read as what they are", "[serialize]") {
  const auto z = at::complex(torch::randn({3}), torch::randn({3}));
  const TemporaryFile file;
  for (const auto& view : {z.conj(), at::imag(z.conj()), at::imag(z), z}) {
    torch::nn::Module saved;
    saved.register_buffer("view", view);
    torch::nn::Module loaded;
    const auto buffer = loaded.register_buffer("view", torch::zeros_like(view));
    mpelu::save_state_dict(saved, file.path());
    mpelu::load_state_dict(loaded, file.path());
    CATCH_CHECK(at::equal(buffer, view.resolve_conj().resolve_neg()));
  }
}

CATCH_TEST_CASE("a state dict that does not fit is refused with its keys named", "[serialize]") {
  using torch::nn::Linear;
  const TemporaryFile file;
  torch::nn::Sequential saved(Linear(2, 3), mpelu::nn::MPELU(3));
  mpelu::save_state_dict(*saved, file.path());

  torch::nn::Sequential other(Linear(2, 4), mpelu::nn::SPELU(3), Linear(1, 1));
  const auto before = other->parameters()[2].clone();
  const auto error = error_of([&] { mpelu::load_state_dict(*other, file.path()); });
  for (const char* part : {"missing keys: '2.weight', '2.bias'", "unexpected keys: '1.beta'",
                           "'0.weight' is [3, 2] in the file and [4, 2] in the module"}) {
    CATCH_CHECK_THAT(error, Catch::Matchers::ContainsSubstring(part));
  }
  CATCH_CHECK_THAT(error_of([&] { mpelu::load_state_dict(*other, file.path(), false); }),
                   Catch::Matchers::ContainsSubstring("different shapes"));
  CATCH_CHECK(at::equal(other->parameters()[2], before));
}

CATCH_TEST_CASE("loading that is not strict takes what is there", "[serialize]") {
  const TemporaryFile file;
  mpelu::nn::MPELU saved(mpelu::nn::MPELUOptions(3).alpha(0.5).beta(2));
  mpelu::save_state_dict(*saved, file.path());
  mpelu::nn::SPELU loaded(3);
  mpelu::load_state_dict(*loaded, file.path(), /*strict=*/false);
  CATCH_CHECK(at::equal(loaded->alpha, saved->alpha));
}

CATCH_TEST_CASE("a file that cannot be read is named", "[serialize]") {
  auto net = model();
  const auto check = [&](const std::string& path, const std::string& message) {
    const auto error = error_of([&] { mpelu::load_state_dict(*net, path); });
    CATCH_CHECK_THAT(error, Catch::Matchers::ContainsSubstring("cannot read '" + path + "'"));
    CATCH_CHECK_THAT(error, Catch::Matchers::ContainsSubstring(message));
  };
  const TemporaryFile file;

  CATCH_SECTION("it does not exist") { check(file.path(), "No such file"); }
  CATCH_SECTION("it is empty or something else") {
    for (const char* text : {"", "not a checkpoint"}) {
      std::ofstream(file.path()) << text;
      check(file.path(), "archive");
    }
  }
  CATCH_SECTION("it is truncated") {
    mpelu::save_state_dict(*net, file.path());
    std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) / 2);
    check(file.path(), "archive");
  }
  CATCH_SECTION("it holds a tensor alone") {
    const auto bytes = torch::pickle_save(torch::ones({2}));
    std::ofstream(file.path(), std::ios::binary).write(bytes.data(), bytes.size());
    check(file.path(), "does not hold a state dict");
  }
}

CATCH_TEST_CASE("damage anywhere in a file never crashes", "[serialize]") {
  const TemporaryFile file;
  mpelu::save_state_dict(*model(), file.path());
  const auto bytes = contents(file.path());
  auto net = model();
  int refused = 0;
  for (size_t i = 0; i < bytes.size(); i += 7) {
    auto damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    std::ofstream(file.path(), std::ios::binary) << damaged;
    refused += !error_of([&] { mpelu::load_state_dict(*net, file.path()); }).empty();
  }
  CATCH_CHECK(refused > 0);
}

CATCH_TEST_CASE("pickled data of no state dict is refused, however deep it goes", "[serialize]") {
  const auto repeated = [](const std::string& bytes, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) {
      all += bytes;
    }
    return all;
  };
  const std::string key("X\1\0\0\0k", 6);
  const std::vector<std::string> damaged{
      ")" + repeated("\x85", 20'000),                                        // tuples in tuples
      repeated("}" + key, 20'000) + "N" + repeated("s", 20'000),             // dicts in dicts
      "}q" + std::string(1, '\0') + key + "h" + std::string(1, '\0') + "s",  // a dict in itself
      "}(" + key + "u",  // a key without a value
      "NNNs",            // an item of no dict
      "}NNs",            // a key that is none
      "NNR",             // a call of no function
      "NQ",              // a storage of no name
  };
  auto net = model();
  const TemporaryFile file;
  for (const auto& pickled : damaged) {
    CATCH_CAPTURE(pickled.substr(0, 10));
    caffe2::serialize::PyTorchStreamWriter archive(file.path());
    const auto record = "\x80\x02" + pickled + ".";
    archive.writeRecord("data.pkl", record.data(), record.size());
    archive.writeEndOfFile();
    const auto error = error_of([&] { mpelu::load_state_dict(*net, file.path()); });
    CATCH_CHECK_THAT(error, Catch::Matchers::ContainsSubstring("cannot read '"));
    CATCH_CHECK_THAT(error, !Catch::Matchers::ContainsSubstring("INTERNAL ASSERT"));
  }
}

CATCH_TEST_CASE("a file that cannot be written is named", "[serialize]") {
  for (const std::string path : {"/no/such/folder/model.pt", "/dev/full"}) {
    CATCH_CHECK_THAT(error_of([&] { mpelu::save_state_dict(*model(), path); }),
                     Catch::Matchers::ContainsSubstring("cannot write '" + path + "'"));
  }
}

CATCH_TEST_CASE("a state dict that cannot be written leaves the file that was there",
                "[serialize]") {
  const TemporaryFile file;
  auto net = model();
  mpelu::save_state_dict(*net, file.path());
  {
    const FileSizeLimit limit(100);
    CATCH_CHECK_THAT(error_of([&] { mpelu::save_state_dict(*model(), file.path()); }),
                     Catch::Matchers::ContainsSubstring("cannot write '"));
  }
  CATCH_CHECK(file.files_beside() == 0);
  auto loaded = model();
  mpelu::load_state_dict(*loaded, file.path());
  check_equal(loaded, net);
}

CATCH_TEST_CASE("a link stays, and what it is a link to is replaced whole or not at all",
                "[serialize]") {
  const TemporaryFile file, link;
  auto net = model();
  mpelu::save_state_dict(*net, file.path());
  std::filesystem::permissions(file.path(), std::filesystem::perms::owner_all);
  std::filesystem::create_symlink(file.path(), link.path());
  {
    const FileSizeLimit limit(100);
    CATCH_CHECK_THAT(error_of([&] { mpelu::save_state_dict(*model(), link.path()); }),
                     Catch::Matchers::ContainsSubstring("cannot write '"));
  }
  auto loaded = model();
  mpelu::load_state_dict(*loaded, file.path());
  check_equal(loaded, net);

  auto other = model();
  mpelu::save_state_dict(*other, link.path());
  CATCH_CHECK(std::filesystem::is_symlink(link.path()));
  CATCH_CHECK(std::filesystem::status(file.path()).permissions() ==
              std::filesystem::perms::owner_all);
  mpelu::load_state_dict(*loaded, file.path());
  check_equal(loaded, other);
}

CATCH_TEST_CASE("a file may have the longest name", "[serialize]") {
  const auto path = std::filesystem::temp_directory_path() / std::string(255, 'n');
  mpelu::save_state_dict(*model(), path);
  CATCH_CHECK(std::filesystem::remove(path));
}

CATCH_TEST_CASE("a file whose name is too long is named, and nothing is left of it",
                "[serialize]") {
  const TemporaryFile file;
  const auto path = file.path() + std::string(255, 'n');
  CATCH_CHECK_THAT(error_of([&] { mpelu::save_state_dict(*model(), path); }),
                   Catch::Matchers::ContainsSubstring("cannot write '" + path + "'"));
  CATCH_CHECK(file.files_beside() == 0);
}

CATCH_TEST_CASE("a tensor that torch has no storage for is refused by its name", "[serialize]") {
  const TemporaryFile file;
  for (const auto& tensor :
       {torch::ones({4}).to(at::kFloat8_e4m3fn), torch::ones({4}).to_sparse()}) {
    torch::nn::Module module;
    module.register_buffer("scale", tensor);
    CATCH_CHECK_THAT(error_of([&] { mpelu::save_state_dict(module, file.path()); }),
                     Catch::Matchers::ContainsSubstring("'scale' is a tensor of "));
    CATCH_CHECK(!std::filesystem::exists(file.path()));
  }
}
