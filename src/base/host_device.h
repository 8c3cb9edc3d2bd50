#pragma once

/// Marks a function that is compiled for the host and, by a CUDA compiler, for the device too.
#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif
