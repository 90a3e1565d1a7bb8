#include "serialize/unpickler.h"

#include <ATen/core/Dict.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mpelu::serialize {

namespace {

using c10::IValue;

/// The opcodes of pickle's protocol 2, those that torch.save writes for a state dict.
enum class Opcode : uint8_t {
  kMark = '(',
  kEmptyTuple = ')',
  kStop = '.',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kBuild = 'b',
  kGlobal = 'c',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

/// Those that have a class of storages of their own, such as torch.FloatStorage.
constexpr std::array kDtypes{at::kFloat, at::kDouble, at::kHalf,         at::kBFloat16,
                             at::kLong,  at::kInt,    at::kShort,        at::kChar,
                             at::kByte,  at::kBool,   at::kComplexFloat, at::kComplexDouble};

at::ScalarType storage_dtype(const std::string& name) {
  for (const auto dtype : kDtypes) {
    if (name == std::string("torch.") + c10::toString(dtype) + "Storage") {
      return dtype;
    }
  }
  TORCH_CHECK(false, "it has a storage of type ", name);
}

void check_intact(bool is_intact) { TORCH_CHECK(is_intact, "its pickled data is damaged"); }

bool is_container(const IValue& value) { return value.isGenericDict() || value.isTuple(); }

const std::string& string_of(const IValue& value) {
  check_intact(value.isString());
  return value.toStringRef();
}

at::ArrayRef<IValue> elements_of(const IValue& tuple) {
  check_intact(tuple.isTuple());
  return tuple.toTupleRef().elements();
}

IValue empty_dict() { return c10::impl::GenericDict(c10::AnyType::get(), c10::AnyType::get()); }

/// A stack machine, as Python's pickle is one. A global (a class or a function) is kept as its
/// name.
class Unpickler {
 public:
  explicit Unpickler(caffe2::serialize::PyTorchStreamReader& archive) : archive_(archive) {
    std::tie(record_, size_) = archive_.getRecord("data.pkl");
  }

  IValue run() {
    for (auto opcode = read<Opcode>(); opcode != Opcode::kStop; opcode = read<Opcode>()) {
      step(opcode);
    }
    return pop();
  }

 private:
  void step(Opcode opcode) {
    switch (opcode) {
      case Opcode::kProto: {
        const auto protocol = read<uint8_t>();
        TORCH_CHECK(protocol == 2, "its pickle protocol is ", int{protocol}, ", not 2");
        return;
      }
      case Opcode::kNone:
        return push(IValue());
      case Opcode::kNewTrue:
        return push(true);
      case Opcode::kNewFalse:
        return push(false);
      case Opcode::kBinInt1:
        return push(int64_t{read<uint8_t>()});
      case Opcode::kBinInt2:
        return push(int64_t{read<uint16_t>()});
      case Opcode::kBinInt:
        return push(int64_t{read<int32_t>()});
      case Opcode::kLong1:
        return push(read_long(read<uint8_t>()));
      case Opcode::kBinUnicode:
        return push(std::string(read_bytes(read<uint32_t>())));
      case Opcode::kGlobal: {
        std::string module(read_line());
        return push(std::move(module) + "." + std::string(read_line()));
      }
      case Opcode::kEmptyDict:
        return push(empty_dict());
      case Opcode::kMark:
        return marks_.push_back(stack_.size());
      case Opcode::kEmptyTuple:
        return push_tuple(0);
      case Opcode::kTuple1:
        return push_tuple(1);
      case Opcode::kTuple2:
        return push_tuple(2);
      case Opcode::kTuple3:
        return push_tuple(3);
      case Opcode::kTuple:
        return push_tuple(count_to_mark());
      case Opcode::kSetItem:
        return set_items(2);
      case Opcode::kSetItems:
        return set_items(count_to_mark());
      case Opcode::kBinPut:
        return put(read<uint8_t>());
      case Opcode::kLongBinPut:
        return put(read<uint32_t>());
      case Opcode::kBinGet:
        return get(read<uint8_t>());
      case Opcode::kLongBinGet:
        return get(read<uint32_t>());
      case Opcode::kBinPersId:
        return push(storage(pop()));
      case Opcode::kReduce: {
        const IValue arguments = pop();
        return push(call(string_of(pop()), elements_of(arguments)));
      }
      case Opcode::kBuild:  // An OrderedDict's attributes: _metadata, the modules' versions.
        pop();
        return;
      default:
        TORCH_CHECK(false, "it holds something other than named tensors (pickle opcode ",
                    static_cast<int>(opcode), ")");
    }
  }

  std::string_view read_bytes(size_t size) {
    TORCH_CHECK(size <= size_ - position_, "its pickled data is truncated");
    const std::string_view bytes(static_cast<const char*>(record_.get()) + position_, size);
    position_ += size;
    return bytes;
  }

  template <typename T>
  T read() {
    T value;
    std::memcpy(&value, read_bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view read_line() {
    const auto rest = std::string_view(static_cast<const char*>(record_.get()), size_);
    const auto end = rest.find('\n', position_);
    TORCH_CHECK(end != rest.npos, "its pickled data is truncated");
    const auto line = read_bytes(end - position_);
    ++position_;
    return line;
  }

  /// A little-endian integer in two's complement.
  int64_t read_long(size_t size) {
    TORCH_CHECK(size <= sizeof(int64_t), "it holds an integer of ", size, " bytes");
    const auto bytes = read_bytes(size);
    uint64_t value = size > 0 && static_cast<signed char>(bytes.back()) < 0 ? ~uint64_t{0} : 0;
    std::memcpy(&value, bytes.data(), size);
    return static_cast<int64_t>(value);
  }

  void push(IValue value) { stack_.push_back(std::move(value)); }

  IValue pop() {
    IValue value = std::move(top(1));
    stack_.pop_back();
    return value;
  }

  /// The value at a depth below the top, counted from 1.
  IValue& top(size_t depth) {
    check_intact(depth <= stack_.size());
    return stack_[stack_.size() - depth];
  }

  size_t count_to_mark() {
    check_intact(!marks_.empty() && marks_.back() <= stack_.size());
    const size_t count = stack_.size() - marks_.back();
    marks_.pop_back();
    return count;
  }

  std::vector<IValue> pop(size_t count) {
    check_intact(count <= stack_.size());
    const auto begin = stack_.end() - static_cast<ptrdiff_t>(count);
    std::vector<IValue> values(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return values;
  }

  /// No deeper than the arguments of a tensor, which have its sizes in tuples: to destroy what is
  /// deep takes as deep a stack.
  void push_tuple(size_t count) {
    auto elements = pop(count);
    for (const auto& element : elements) {
      check_intact(!element.isTuple() || std::ranges::none_of(elements_of(element), is_container));
    }
    push(c10::ivalue::Tuple::create(std::move(elements)));
  }

  /// A dict or tuple in a dict is none of a state dict's tensors: None stands for it, so that
  /// nothing gets deep and no dict holds itself.
  void set_items(size_t count) {
    const auto items = pop(count);
    check_intact(items.size() % 2 == 0 && top(1).isGenericDict());
    auto dict = top(1).toGenericDict();
    for (size_t i = 0; i < items.size(); i += 2) {
      check_intact(items[i].isString() || items[i].isInt());
      dict.insert_or_assign(items[i], is_container(items[i + 1]) ? IValue() : items[i + 1]);
    }
  }

  void put(uint32_t index) { memo_[index] = top(1); }

  void get(uint32_t index) {
    const auto found = memo_.find(index);
    check_intact(found != memo_.end());
    push(found->second);
  }

  /// The storage that an id ("storage", type, key, device, numel) stands for, as a 1-d tensor. Its
  /// size is the record's, whatever numel says, so that no view of it can reach outside.
  at::Tensor storage(const IValue& id) {
    const auto fields = elements_of(id);
    check_intact(fields.size() == 5);
    const std::string& key = string_of(fields[2]);
    const auto [found, is_new] = storages_.try_emplace(key);
    if (is_new) {
      const auto dtype = storage_dtype(string_of(fields[1]));
      const auto record = "data/" + key;
      const size_t size = archive_.getRecordSize(record);
      auto& tensor = found->second;
      tensor = at::empty({static_cast<int64_t>(size / c10::elementSize(dtype))}, dtype);
      archive_.getRecord(record, tensor.data_ptr(), tensor.nbytes());
    }
    return found->second;
  }

  static IValue call(const std::string& function, at::ArrayRef<IValue> arguments) {
    if (function == "collections.OrderedDict" && arguments.empty()) {
      return empty_dict();
    }
    if (function == "torch._utils._rebuild_tensor_v2" && arguments.size() >= 4) {
      // (storage, offset, size, stride, requires_grad, backward_hooks, bits)
      check_intact(arguments[0].isTensor() && arguments[1].isInt());
      const auto tensor = arguments[0].toTensor().as_strided(
          to_sizes(arguments[2]), to_sizes(arguments[3]), arguments[1].toInt());
      return arguments.size() > 6 ? with_bits(tensor, arguments[6]) : tensor;
    }
    if (function == "torch._utils._rebuild_parameter" && !arguments.empty()) {
      return arguments[0];
    }
    TORCH_CHECK(false, "it holds something other than named tensors (", function, ")");
  }

  /// A view such as z.conj() or z.conj().imag is stored as what it is a view of, and a bit.
  static at::Tensor with_bits(const at::Tensor& tensor, const IValue& bits) {
    check_intact(bits.isGenericDict());
    for (const auto& entry : bits.toGenericDict()) {
      const auto& name = string_of(entry.key());
      check_intact(entry.value().isBool());
      TORCH_CHECK(name == "conj" || name == "neg", "it holds a tensor with ", name);
      if (name == "conj") {
        check_intact(tensor.is_complex());
        tensor._set_conj(entry.value().toBool());
      } else {
        tensor._set_neg(entry.value().toBool());
      }
    }
    return tensor;
  }

  static std::vector<int64_t> to_sizes(const IValue& tuple) {
    std::vector<int64_t> sizes;
    for (const auto& element : elements_of(tuple)) {
      check_intact(element.isInt());
      sizes.push_back(element.toInt());
    }
    return sizes;
  }

  caffe2::serialize::PyTorchStreamReader& archive_;
  at::DataPtr record_;
  size_t size_ = 0;
  size_t position_ = 0;
  std::vector<IValue> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, IValue> memo_;
  std::unordered_map<std::string, at::Tensor> storages_;
};

}  // namespace

bool can_hold(at::ScalarType dtype) { return std::ranges::find(kDtypes, dtype) != kDtypes.end(); }

IValue unpickle(caffe2::serialize::PyTorchStreamReader& archive) {
  if (archive.hasRecord("byteorder")) {
    const auto [order, size] = archive.getRecord("byteorder");
    const std::string_view name(static_cast<const char*>(order.get()), size);
    TORCH_CHECK(name == "little", "its byte order is ", name, ", not little");
  }
  return Unpickler(archive).run();
}

}  // namespace mpelu::serialize
