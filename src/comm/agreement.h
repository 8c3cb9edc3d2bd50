#pragma once

#include <new>
#include <optional>
#include <string>
#include <utility>

#include "base/errors.h"
#include "comm/communicator.h"

namespace ssmax::comm {

/// An error that every rank throws at the same place, so that one of them prints it and all can
/// leave in order.
class SharedError : public base::Error {
 public:
  using base::Error::Error;
};

/// Tells all ranks whether this one failed. Where any did, all throw SharedError: the first such
/// rank's error, with its name in front when not every rank failed alike.
void share_failure(Communicator& ranks, const std::optional<base::Error>& mine);

/// Runs work that may fail on some ranks only; afterwards all go on or all throw. `work` must not
/// use `ranks` in a way that leaves others waiting when it fails.
template <class Work>
void together(Communicator& ranks, Work&& work) {
  std::optional<base::Error> failure;
  try {
    std::forward<Work>(work)();
  } catch (const base::Error& error) {
    failure = error;
  } catch (const std::bad_alloc&) {
    failure = base::Error(base::ErrorKind::device, "out of memory");
  }
  share_failure(ranks, failure);
}

/// Runs work that fails on every rank or on none, since it depends on nothing but what they have in
/// common; its errors become SharedErrors without a message between ranks.
template <class Work>
decltype(auto) alike(Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const base::Error& error) {
    throw SharedError(error.kind(), error.what());
  }
}

/// base::within that leaves a SharedError one.
template <class Work>
decltype(auto) within(std::string_view context, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const SharedError& error) {
    throw SharedError(error.kind(), error.within(context).what());
  } catch (const base::Error& error) {
    throw error.within(context);
  }
}

/// Throws SharedError(usage) unless `value` is the same on all ranks; `what` names it.
void require_same(Communicator& ranks, const std::string& what, const std::string& value);

}  // namespace ssmax::comm
