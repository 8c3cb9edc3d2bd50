#pragma once

#include <optional>
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

/// Throws SharedError(usage) unless `value` is the same on all ranks; `what` names it.
void require_same(Communicator& ranks, const std::string& what, const std::string& value);

}  // namespace ssmax::comm
