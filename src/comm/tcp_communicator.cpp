#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/errors.h"
#include "comm/host_communicator.h"
#include "comm/open_tcp.h"

namespace ssmax::comm {

namespace {

constexpr int kLookMilliseconds = 50;  // between two calls of on_wait
constexpr double kMeetingSeconds = 120.0;
/// In front of a rank's first words, so that another program at the port is not taken for one.
constexpr std::array<char, 8> kGreeting = {'s', 's', 'm', 'a', 'x', ' ', '1', '\n'};

[[noreturn]] void fail(const std::string& message) {
  throw base::Error(base::ErrorKind::hang, message);
}

[[noreturn]] void fail_call(const std::string& what) { fail(what + ": " + std::strerror(errno)); }

class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

/// What a rank says when it connects, and the address book's entries; both ends are of one build.
struct Introduction {
  std::array<char, 8> greeting = kGreeting;
  std::int32_t rank = 0;
  std::int32_t size = 0;
  std::uint16_t port = 0;  ///< where it listens, host order
  std::array<char, 46> address{};
};

void send_all(const Socket& socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket.descriptor(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) fail_call("cannot send to another rank");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void receive_all(const Socket& socket, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::recv(socket.descriptor(), bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) fail("another rank closed its connection at the start");
    if (count < 0) fail_call("cannot receive from another rank");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Introduction receive_introduction(const Socket& socket, int size) {
  Introduction introduction;
  receive_all(socket, std::as_writable_bytes(std::span(&introduction, 1)));
  const bool sound = introduction.greeting == kGreeting && introduction.size == size &&
                     introduction.rank >= 0 && introduction.rank < size;
  if (!sound) fail("expected another rank of this run at the port, found something else");
  return introduction;
}

/// Listens on any interface; port 0 takes one that is free.
Socket listen_at(std::uint16_t port) {
  Socket socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  const int off = 0;
  ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::setsockopt(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_any;
  address.sin6_port = htons(port);
  if (socket.descriptor() < 0 ||
      ::bind(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket.descriptor(), SOMAXCONN) != 0) {
    fail_call("cannot listen at port " + std::to_string(port));
  }
  return socket;
}

std::uint16_t port_of(const Socket& listener) {
  sockaddr_in6 address{};
  socklen_t length = sizeof(address);
  ::getsockname(listener.descriptor(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin6_port);
}

/// Waits for the next rank to connect.
Socket accept_from(const Socket& listener) {
  pollfd waiting{listener.descriptor(), POLLIN, 0};
  const base::Stopwatch watch;
  while (::poll(&waiting, 1, kLookMilliseconds) <= 0) {
    if (watch.seconds() > kMeetingSeconds) {
      fail("not all ranks came within " + std::to_string(static_cast<int>(kMeetingSeconds)) +
           " s; are they all started, with the same WORLD_SIZE?");
    }
  }
  Socket socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.descriptor() < 0) fail_call("cannot accept the connection of another rank");
  return socket;
}

/// Tries until somebody listens there: ranks start in any order.
Socket connect_to(const std::string& host, std::uint16_t port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  if (const int code = ::getaddrinfo(host.c_str(), service.c_str(), &wanted, &found); code != 0) {
    throw base::Error(base::ErrorKind::usage, "cannot find the machine " + host +
                                                  " (MASTER_ADDR): " + ::gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  const base::Stopwatch watch;
  while (watch.seconds() < kMeetingSeconds) {
    for (const addrinfo* next = found; next != nullptr; next = next->ai_next) {
      Socket socket(::socket(next->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.descriptor(), next->ai_addr, next->ai_addrlen) == 0) return socket;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookMilliseconds));
  }
  fail("nobody answers at " + host + ":" + service + "; is rank 0 started there?");
}

/// The address at the other end.
std::string peer_of(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  std::array<char, NI_MAXHOST> text{};
  ::getpeername(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), &length);
  ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, text.data(), text.size(), nullptr, 0,
                NI_NUMERICHOST);
  return text.data();
}

/// Where a rank listens.
struct Address {
  std::string host;
  std::uint16_t port = 0;
};

/// A connection to every other rank: the higher rank of two connects to the lower one.
std::vector<Socket> connect_all(int rank, const std::vector<Address>& book,
                                const Socket& listener) {
  const int size = static_cast<int>(book.size());
  std::vector<Socket> peers(book.size());
  for (int other = 0; other < rank; ++other) {
    const Address& there = book[static_cast<std::size_t>(other)];
    Socket socket = connect_to(there.host, there.port);
    Introduction mine;
    mine.rank = rank;
    mine.size = size;
    send_all(socket, bytes_of(mine));
    peers[static_cast<std::size_t>(other)] = std::move(socket);
  }
  for (int missing = size - 1 - rank; missing > 0; --missing) {
    Socket socket = accept_from(listener);
    const Introduction who = receive_introduction(socket, size);
    peers[static_cast<std::size_t>(who.rank)] = std::move(socket);
  }
  const int on = 1;
  for (const Socket& peer : peers) {
    if (peer.descriptor() < 0) continue;
    ::setsockopt(peer.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::fcntl(peer.descriptor(), F_SETFL, ::fcntl(peer.descriptor(), F_GETFL) | O_NONBLOCK);
  }
  return peers;
}

class TcpCommunicator : public HostCommunicator {
 public:
  TcpCommunicator(int rank, std::vector<Address> book, const Socket& listener)
      : HostCommunicator(rank, static_cast<int>(book.size())),
        book_(std::move(book)),
        peers_(connect_all(rank, book_, listener)) {
    introduce();
  }

  std::string_view transport() const override { return "TCP"; }

  std::unique_ptr<Communicator> duplicate() override {
    const Socket listener = listen_at(0);
    const auto port = static_cast<double>(port_of(listener));
    const std::vector<double> ports = gather_values({&port, 1});
    std::vector<Address> book = book_;
    for (std::size_t i = 0; i < book.size(); ++i) {
      book[i].port = static_cast<std::uint16_t>(ports[i]);
    }
    return std::make_unique<TcpCommunicator>(rank_, std::move(book), listener);
  }

  void finish() override { barrier(); }

 protected:
  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    for (Peer& peer : state_) peer = {};
    state_.resize(peers_.size());
    std::size_t left = outgoing.size() + incoming.size();
    const base::Stopwatch watch;
    while (left > 0) {
      left -= progress(outgoing, incoming);
      if (left > 0) wait(watch.seconds(), outgoing, incoming);
    }
  }

 private:
  /// How far the messages of this exchange with a rank are; they go one after the other.
  struct Peer {
    std::size_t sent = 0;      // bytes of the message at out
    std::size_t received = 0;  // bytes of the message at in
    std::size_t out = 0;       // messages looked at
    std::size_t in = 0;
  };

  template <class Message>
  static std::size_t next_of(int rank, std::span<const Message> messages, std::size_t from) {
    while (from < messages.size() && messages[from].rank != rank) ++from;
    return from;
  }

  /// Moves what can be moved now; the number of messages that are through with it.
  std::size_t progress(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) {
    std::size_t done = 0;
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) continue;
      Peer& peer = state_[static_cast<std::size_t>(rank)];
      const int descriptor = peers_[static_cast<std::size_t>(rank)].descriptor();
      for (peer.out = next_of(rank, outgoing, peer.out); peer.out < outgoing.size();
           peer.out = next_of(rank, outgoing, peer.out + 1)) {
        const auto bytes = outgoing[peer.out].bytes;
        peer.sent += moved(rank, ::send(descriptor, bytes.data() + peer.sent,
                                        bytes.size() - peer.sent, MSG_NOSIGNAL));
        if (peer.sent < bytes.size()) break;
        peer.sent = 0;
        ++done;
      }
      for (peer.in = next_of(rank, incoming, peer.in); peer.in < incoming.size();
           peer.in = next_of(rank, incoming, peer.in + 1)) {
        const auto bytes = incoming[peer.in].bytes;
        const ssize_t count =
            ::recv(descriptor, bytes.data() + peer.received, bytes.size() - peer.received, 0);
        if (count == 0) fail("lost " + rank_text(rank) + ": it closed its connection");
        peer.received += moved(rank, count);
        if (peer.received < bytes.size()) break;
        peer.received = 0;
        ++done;
      }
    }
    return done;
  }

  /// What send or recv moved; nothing when it must be asked again.
  std::size_t moved(int rank, ssize_t count) const {
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    fail("lost " + rank_text(rank) + ": " + std::strerror(errno));
  }

  void wait(double seconds, std::span<const Outgoing> outgoing,
            std::span<const Incoming> incoming) {
    polled_.clear();
    silent_.clear();
    for (int rank = 0; rank < size_; ++rank) {
      const Peer& peer = state_[static_cast<std::size_t>(rank)];
      const bool out = rank != rank_ && peer.out < outgoing.size();
      const bool in = rank != rank_ && peer.in < incoming.size();
      if (!out && !in) continue;
      const auto events = static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0));
      polled_.push_back({peers_[static_cast<std::size_t>(rank)].descriptor(), events, 0});
      silent_.push_back(rank);
    }
    const int ready = ::poll(polled_.data(), polled_.size(), kLookMilliseconds);
    if (ready == 0) check_wait({seconds, silent_});
  }

  std::vector<Address> book_;
  std::vector<Socket> peers_;
  std::vector<Peer> state_;
  std::vector<pollfd> polled_;
  std::vector<int> silent_;
};

}  // namespace

std::unique_ptr<Communicator> open_tcp(int rank, int size, const std::string& host,
                                       std::uint16_t port) {
  // Rank 0 collects who listens where and tells everyone.
  const Socket listener = listen_at(rank == 0 ? port : 0);
  std::vector<Introduction> book(static_cast<std::size_t>(size));
  const auto book_bytes = [&] { return std::as_writable_bytes(std::span(book)); };
  if (rank == 0) {
    std::vector<Socket> others;
    for (int missing = size - 1; missing > 0; --missing) {
      others.push_back(accept_from(listener));
      Introduction who = receive_introduction(others.back(), size);
      who.address = {};
      peer_of(others.back()).copy(who.address.data(), who.address.size() - 1);
      book[static_cast<std::size_t>(who.rank)] = who;
    }
    for (const Socket& other : others) send_all(other, book_bytes());
  } else {
    const Socket root = connect_to(host, port);
    Introduction mine;
    mine.rank = rank;
    mine.size = size;
    mine.port = port_of(listener);
    send_all(root, bytes_of(mine));
    receive_all(root, book_bytes());
  }
  std::vector<Address> addresses;
  for (const Introduction& entry : book) addresses.push_back({entry.address.data(), entry.port});
  addresses[0] = {host, port};
  return std::make_unique<TcpCommunicator>(rank, std::move(addresses), listener);
}

}  // namespace ssmax::comm
