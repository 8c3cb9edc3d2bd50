#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace ssmax::comm {

/// Joins `size` ranks over TCP: rank 0 listens at `port`, the others find it at `host`; then every
/// two are connected. For launchers that only say where rank 0 is. A rank whose process ends is
/// noticed at once. Neither encrypted nor authenticated: for networks that are trusted.
std::unique_ptr<Communicator> open_tcp(int rank, int size, const std::string& host,
                                       std::uint16_t port);

}  // namespace ssmax::comm
