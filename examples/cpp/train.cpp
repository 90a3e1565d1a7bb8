// Trains a small convolutional network with MPELU activations on images.
//
//   prefix=$(python -c 'import mpelu; print(mpelu.cmake_prefix_path)')
//   cmake -S examples/cpp -B build/examples -DCMAKE_PREFIX_PATH="$prefix"
//   cmake --build build/examples
//   python examples/python/data.py --export images.pt
//   build/examples/mpelu_train images.pt [--epochs N] [--max-steps N] [--seed N]
//
// The file holds a dict of tensors: train_images and test_images, uint8 [N, C, H, W], and
// train_labels and test_labels, int64 [N].

#include <mpelu/mpelu.h>
#include <torch/torch.h>

#include <charconv>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int64_t kBatchSize = 64;

struct Settings {
  std::string file;
  int64_t epochs = 3;
  int64_t max_steps = std::numeric_limits<int64_t>::max();
  int64_t seed = 0;
};

int64_t parse_number(std::string_view option, std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  TORCH_CHECK(error == std::errc() && end == text.data() + text.size() && number >= 0, option,
              " takes a number >= 0, got '", text, "'");
  return number;
}

Settings parse_arguments(const std::vector<std::string>& arguments) {
  Settings settings;
  const std::map<std::string, int64_t*> options = {{"--epochs", &settings.epochs},
                                                   {"--max-steps", &settings.max_steps},
                                                   {"--seed", &settings.seed}};
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    if (const auto option = options.find(argument); option != options.end()) {
      TORCH_CHECK(++i < arguments.size(), argument, " takes a number");
      *option->second = parse_number(argument, arguments[i]);
    } else {
      TORCH_CHECK(!argument.starts_with("-"), "unknown option ", argument);
      TORCH_CHECK(settings.file.empty(), "one file is enough, got '", settings.file, "' and '",
                  argument, "'");
      settings.file = argument;
    }
  }
  TORCH_CHECK(!settings.file.empty(),
              "usage: mpelu_train FILE [--epochs N] [--max-steps N] [--seed N]");
  return settings;
}

/// Images with their classes, which come in whole batches.
class Images : public torch::data::datasets::BatchDataset<Images, torch::data::Example<>> {
 public:
  Images(at::Tensor images, at::Tensor labels)
      : images_(std::move(images)), labels_(std::move(labels)) {
    TORCH_CHECK(images_.dim() == 4 && images_.scalar_type() == at::kByte,
                "images must be uint8 [N, C, H, W], got ", images_.dtype(), " ", images_.sizes());
    TORCH_CHECK(labels_.dim() == 1 && labels_.scalar_type() == at::kLong &&
                    labels_.size(0) == images_.size(0),
                "labels must be int64 [", images_.size(0), "], got ", labels_.dtype(), " ",
                labels_.sizes());
    TORCH_CHECK(images_.numel() > 0 && labels_.min().item<int64_t>() >= 0,
                "there must be images, with labels >= 0");
  }

  torch::data::Example<> get_batch(c10::ArrayRef<size_t> indices) override {
    const auto index = torch::tensor(std::vector<int64_t>(indices.begin(), indices.end()));
    // From [0, 255] to [-1, 1].
    return {images_.index_select(0, index).to(at::kFloat).div_(127.5).sub_(1),
            labels_.index_select(0, index)};
  }

  std::optional<size_t> size() const override { return labels_.size(0); }

  int64_t channels() const { return images_.size(1); }
  int64_t classes() const { return labels_.max().item<int64_t>() + 1; }

 private:
  at::Tensor images_;
  at::Tensor labels_;
};

struct Data {
  Images train;
  Images test;
};

Data read_data(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TORCH_CHECK(file, "cannot open '", path, "'");
  try {
    const auto content =
        torch::pickle_load({std::istreambuf_iterator<char>(file), {}}).toGenericDict();
    const auto tensor = [&](const char* name) {
      TORCH_CHECK(content.contains(name), "it has no ", name);
      return content.at(name).toTensor();
    };
    return {Images(tensor("train_images"), tensor("train_labels")),
            Images(tensor("test_images"), tensor("test_labels"))};
  } catch (const c10::Error& error) {
    C10_THROW_ERROR(Error, c10::str("cannot use '", path, "': ", error.what_without_backtrace()));
  } catch (const std::ios_base::failure& error) {  // of a folder, for one
    C10_THROW_ERROR(Error, c10::str("cannot read '", path, "': ", error.code().message()));
  }
}

torch::nn::Sequential make_model(int64_t channels, int64_t classes) {
  using torch::nn::Conv2dOptions;
  torch::nn::Sequential model(
      torch::nn::Conv2d(Conv2dOptions(channels, 16, 3).padding(1).bias(false)),
      torch::nn::BatchNorm2d(16), mpelu::nn::MPELU(16),
      torch::nn::Conv2d(Conv2dOptions(16, 32, 3).stride(2).padding(1).bias(false)),
      torch::nn::BatchNorm2d(32), mpelu::nn::MPELU(32), torch::nn::AdaptiveAvgPool2d(4),
      torch::nn::Flatten(), torch::nn::Linear(32 * 4 * 4, classes));
  // No activation follows the last layer: alpha * beta = 1 is the slope of the identity.
  mpelu::init::taylor_init_(*model, /*alpha=*/1.0, /*beta=*/1.0);
  return model;
}

/// Running sums over the batches of an epoch.
struct Score {
  void add(const at::Tensor& batch_loss, const at::Tensor& output, const at::Tensor& labels) {
    images += labels.size(0);
    loss += batch_loss.item<double>() * static_cast<double>(labels.size(0));
    correct += output.argmax(1).eq(labels).sum().item<int64_t>();
  }

  double mean_loss() const { return loss / static_cast<double>(images); }
  double accuracy() const {
    return 100.0 * static_cast<double>(correct) / static_cast<double>(images);
  }

  int64_t images = 0;
  int64_t correct = 0;
  double loss = 0;
};

template <typename Loader>
Score train_epoch(torch::nn::Sequential& model, Loader& loader, torch::optim::Optimizer& optimizer,
                  int64_t& steps_left) {
  model->train();
  Score score;
  for (const auto& batch : loader) {
    if (steps_left-- <= 0) {
      break;
    }
    optimizer.zero_grad();
    const auto output = model->forward(batch.data);
    const auto loss = torch::cross_entropy_loss(output, batch.target);
    loss.backward();
    optimizer.step();
    score.add(loss, output, batch.target);
  }
  return score;
}

template <typename Loader>
Score evaluate(torch::nn::Sequential& model, Loader& loader) {
  const torch::NoGradGuard no_grad;
  model->eval();
  Score score;
  for (const auto& batch : loader) {
    const auto output = model->forward(batch.data);
    score.add(torch::cross_entropy_loss(output, batch.target), output, batch.target);
  }
  return score;
}

void run(const Settings& settings) {
  torch::manual_seed(settings.seed);
  const Data data = read_data(settings.file);
  auto model = make_model(data.train.channels(), data.train.classes());
  const auto options =
      torch::optim::SGDOptions(0.05).momentum(0.9).nesterov(true).weight_decay(1e-4);
  torch::optim::SGD optimizer(mpelu::optim::param_groups(*model, options), options);

  const auto train =
      torch::data::make_data_loader<torch::data::samplers::RandomSampler>(data.train, kBatchSize);
  const auto test = torch::data::make_data_loader<torch::data::samplers::SequentialSampler>(
      data.test, kBatchSize);
  int64_t steps_left = settings.max_steps;
  for (int64_t epoch = 1; epoch <= settings.epochs && steps_left > 0; ++epoch) {
    const Score learned = train_epoch(model, *train, optimizer, steps_left);
    const Score tested = evaluate(model, *test);
    std::printf(
        "epoch %lld: training loss %.4f, accuracy %.2f%%; test loss %.4f, accuracy %.2f%%\n",
        static_cast<long long>(epoch), learned.mean_loss(), learned.accuracy(), tested.mean_loss(),
        tested.accuracy());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char* argv[]) {
  try {
    run(parse_arguments({argv + 1, argv + argc}));
  } catch (const c10::Error& error) {
    std::cerr << "mpelu_train: " << error.what_without_backtrace() << "\n";
    return 1;
  }
}
