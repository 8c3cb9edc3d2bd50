#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace ssmax::comm {

/// Who started this process beside others.
enum class Launcher : std::uint8_t { none, mpirun, srun, torchrun };

/// What the launcher said in environment variables; nothing is initialized to find out.
struct Launch {
  Launcher launcher = Launcher::none;
  int rank = 0;
  int size = 1;

  /// "mpirun (OMPI_COMM_WORLD_RANK)": launcher and the variable that gave it away.
  std::string text;
};

/// Open MPI's mpirun: OMPI_COMM_WORLD_RANK and _SIZE. MPICH's and Intel's: PMI_RANK, PMI_SIZE.
/// srun: SLURM_PROCID, SLURM_STEP_NUM_TASKS. torchrun: RANK, WORLD_SIZE. Error(usage) for one of
/// them that is no number, or a rank that is not below the size.
Launch detect_launch();

/// This machine's, or "unknown".
std::string host_name();

/// Solo for one rank, without touching MPI. TCP for torchrun's variables, which only say where rank
/// 0 is; otherwise MPI: Error(usage) when this build has none, or when MPI counts other ranks than
/// the launcher.
std::unique_ptr<Communicator> open(const Launch& launch);

/// The cores of this rank.
struct CoreShare {
  std::vector<int> cores;  ///< it may run on
  int sharing = 1;         ///< ranks on these cores, this one included
  bool bound = false;      ///< by bind_to_share, not by the launcher

  int threads() const;
  std::string text() const;  ///< "2 threads on cores 4-5"
};

/// Splits the cores that ranks of one machine have in common evenly among them and binds this
/// thread and those it starts later to its own; ranks that the launcher has bound already stay
/// where they are. With fewer cores than ranks some share a core, one thread each.
CoreShare bind_to_share(Communicator& communicator);

}  // namespace ssmax::comm
