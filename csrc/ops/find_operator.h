#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

namespace mpelu {

/// An operator of schema.cpp. To be kept in a static: finding it takes a lock.
template <typename Function>
auto find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

}  // namespace mpelu
