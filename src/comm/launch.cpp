#include "comm/launch.h"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/errors.h"
#include "base/text.h"
#include "comm/build.h"
#include "comm/open_mpi.h"
#include "comm/open_tcp.h"

namespace ssmax::comm {

namespace {

[[noreturn]] void fail(const std::string& message) {
  throw base::Error(base::ErrorKind::usage, message);
}

std::optional<int> number_of(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  const std::string_view digits(text);
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0) {
    fail("the environment variable " + std::string(name) + ": expected a number, found " +
         base::in_quotes(digits));
  }
  return value;
}

/// How one launcher says who is who.
struct Variables {
  Launcher launcher;
  const char* name;
  const char* rank;
  const char* size;
};

// srun may start what mpirun would, and its mark is left in what mpirun starts within a job: the
// nearest launcher comes first.
constexpr std::array kVariables = {
    Variables{Launcher::mpirun, "mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    Variables{Launcher::torchrun, "torchrun's variables", "RANK", "WORLD_SIZE"},
    Variables{Launcher::srun, "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
    Variables{Launcher::mpirun, "mpirun", "PMI_RANK", "PMI_SIZE"},
};

/// torchrun keeps a store of its own at MASTER_PORT and says so; then the next port is ours.
std::unique_ptr<Communicator> open_torchrun(const Launch& launch) {
  const char* host = std::getenv("MASTER_ADDR");
  const auto port = number_of("MASTER_PORT");
  if (host == nullptr || !port || *port < 1 || *port > 65534) {
    fail("RANK and WORLD_SIZE are set, so MASTER_ADDR and MASTER_PORT must say where rank 0 is");
  }
  const char* store = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  const bool taken = store != nullptr && std::string_view(store) == "True";
  return open_tcp(launch.rank, launch.size, host,
                  static_cast<std::uint16_t>(*port + (taken ? 1 : 0)));
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

/// "0-3,8".
std::string ranges_text(const std::vector<int>& cores) {
  std::string text;
  for (std::size_t i = 0; i < cores.size();) {
    std::size_t last = i;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    if (i > 0) text.append(",");
    text.append(std::to_string(cores[i]));
    if (last > i) text.append("-").append(std::to_string(cores[last]));
    i = last + 1;
  }
  return text;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

Launch detect_launch() {
  Launch launch;
  for (const Variables& variables : kVariables) {
    const auto rank = number_of(variables.rank);
    const auto size = number_of(variables.size);
    if (!rank || !size) continue;  // a batch script of Slurm has a rank, and no step
    if (*rank >= *size) {
      fail(std::string(variables.name) + ": expected " + variables.rank + " below " +
           variables.size + ", found " + std::to_string(*rank) + " and " + std::to_string(*size));
    }
    launch = {variables.launcher, *rank, *size,
              std::string(variables.name) + " (" + variables.rank + ")"};
    return launch;
  }
  return launch;
}

std::unique_ptr<Communicator> open(const Launch& launch) {
  if (launch.size == 1) return make_solo();
  if (launch.launcher == Launcher::torchrun) return open_torchrun(launch);
  const std::string started =
      launch.text + " started " + std::to_string(launch.size) + " ranks, but ";
  if constexpr (kBuiltWithMpi) {
    auto communicator = open_mpi();
    if (communicator->size() != launch.size || communicator->rank() != launch.rank) {
      fail(started + "MPI says that this is rank " + std::to_string(communicator->rank()) + " of " +
           std::to_string(communicator->size()) +
           "; launcher and library must belong together: with Slurm try srun --mpi=pmix, with "
           "several MPIs the mpirun of the one that ssmax is linked to");
    }
    return communicator;
  } else {
    fail(started + "this build has no MPI; install libopenmpi-dev and build again");
  }
}

int CoreShare::threads() const { return std::max(1, static_cast<int>(cores.size())); }

std::string CoreShare::text() const {
  std::string text = std::to_string(threads()) + (threads() == 1 ? " thread" : " threads") +
                     (cores.size() == 1 ? " on core " : " on cores ") + ranges_text(cores);
  if (sharing > 1) text += ", which " + std::to_string(sharing) + " ranks share";
  return text;
}

CoreShare bind_to_share(Communicator& communicator) {
  CoreShare share;
  share.cores = allowed_cores();
  const std::string mine = communicator.host(communicator.rank()) + " " + ranges_text(share.cores);
  const std::vector<std::string> all = communicator.gather_texts(mine);
  int alike = 0;  // ranks with the same cores of the same machine
  int place = 0;  // of this rank among them
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const auto i = static_cast<std::size_t>(rank);
    if (all[i] != mine) continue;
    if (rank < communicator.rank()) ++place;
    ++alike;
  }
  if (alike == 1) return share;
  const auto cores = static_cast<int>(share.cores.size());
  std::vector<int> own;
  if (cores >= alike) {
    own.assign(share.cores.begin() + cores * place / alike,
               share.cores.begin() + cores * (place + 1) / alike);
  } else {
    own = {share.cores[static_cast<std::size_t>(place % cores)]};
    share.sharing = alike / cores + (place % cores < alike % cores ? 1 : 0);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : own) CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof(set), &set) == 0) {
    share.bound = true;
  } else {
    // Not allowed here; as many threads as the share has cores are right all the same.
    share.sharing = alike;
  }
  share.cores = std::move(own);
  return share;
}

}  // namespace ssmax::comm
