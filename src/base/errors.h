#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ssmax::base {

/// What went wrong, as the user sees it; `app` turns each kind into one exit code.
enum class ErrorKind { usage, data, checkpoint, device, numerics, hang, disk, stopped };

/// An error meant for the user: says what was expected, what was found and how to fix it.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

  /// The same error one level further out: "training step 12: block 3: ...".
  Error within(std::string_view context) const {
    return Error(kind_, std::string(context) + ": " + what());
  }

 private:
  ErrorKind kind_;
};

/// Runs `work` and adds `context` in front of any Error that leaves it.
template <class Work>
decltype(auto) within(std::string_view context, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const Error& error) {
    throw error.within(context);
  }
}

}  // namespace ssmax::base
