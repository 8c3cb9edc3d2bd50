#include "kernels/adamw/adamw_cpu.h"

#include "kernels/adamw/adamw_launch.h"
#include "kernels/elements.h"
#include "kernels/rows.h"

namespace ssmax::kernels::cpu {

namespace {

/// The constants of a segment, folded in double and rounded once.
struct Folded {
  Folded(const AdamwSegment& segment, const AdamwConstants& constants)
      : beta1(static_cast<float>(constants.beta1)),
        rest1(static_cast<float>(1.0 - constants.beta1)),
        beta2(static_cast<float>(constants.beta2)),
        rest2(static_cast<float>(1.0 - constants.beta2)),
        step(static_cast<float>(constants.learning_rate / segment.bias_correction1)),
        inverse_root(static_cast<float>(1.0 / std::sqrt(segment.bias_correction2))),
        eps(static_cast<float>(constants.eps)),
        decay(static_cast<float>(constants.learning_rate * segment.weight_decay)) {}

  float beta1, rest1, beta2, rest2;
  float step;          // learning rate / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float eps;
  float decay;  // learning rate * lambda
};

struct Pointers {
  float* weights;
  float* first_moment;
  float* second_moment;
  device::Bf16* compute;
  const float* gradients;
};

enum class Compute : unsigned char { none, refresh };

template <Compute kCompute>
void update(const Pointers& at, float scale, std::int64_t begin, std::int64_t end,
            const Folded& f) {
  float* weights = at.weights;
  float* first_moment = at.first_moment;
  float* second_moment = at.second_moment;
  device::Bf16* compute = at.compute;
  const float* gradients = at.gradients;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    const float g = gradients[i] * scale;
    const float m = f.beta1 * first_moment[i] + f.rest1 * g;
    const float v = f.beta2 * second_moment[i] + f.rest2 * g * g;
    const float root = std::sqrt(v) * f.inverse_root + f.eps;
    const float w = weights[i] - f.decay * weights[i] - f.step * m / root;
    first_moment[i] = m;
    second_moment[i] = v;
    weights[i] = w;
    if constexpr (kCompute == Compute::refresh) store(compute[i], w);
  }
}

void update_f32(const AdamwArrays& arrays, float scale, std::span<const AdamwSegment> segments,
                const AdamwConstants& constants) {
  const Pointers at{arrays.weights.data<float>(), arrays.first_moment.data<float>(),
                    arrays.second_moment.data<float>(),
                    arrays.compute.empty() ? nullptr : arrays.compute.data<device::Bf16>(),
                    arrays.gradients.data<float>()};
  for (const AdamwSegment& segment : segments) {
    const Folded folded(segment, constants);
    device::parallel_for(segment.end - segment.begin, kElementsPerTask,
                         [&](std::int64_t begin, std::int64_t end) {
                           begin += segment.begin;
                           end += segment.begin;
                           if (at.compute != nullptr) {
                             update<Compute::refresh>(at, scale, begin, end, folded);
                           } else {
                             update<Compute::none>(at, scale, begin, end, folded);
                           }
                         });
  }
}

}  // namespace

void adamw(Stream& /*stream*/, const AdamwArrays& arrays, const ConstTensor& gradient_scale,
           std::span<const AdamwSegment> segments, const AdamwConstants& constants) {
  if (arrays.weights.dtype() == DType::f32) {
    const float scale = *gradient_scale.data<float>();
    if (std::isfinite(scale)) update_f32(arrays, scale, segments, constants);
    return;
  }
  const double scale = *gradient_scale.data<double>();
  if (!std::isfinite(scale)) return;
  for (const AdamwSegment& segment : segments) {
    plain::adamw(arrays.weights.data<double>(), arrays.first_moment.data<double>(),
                 arrays.second_moment.data<double>(), arrays.gradients.data<double>(), scale,
                 segment.begin, segment.end, segment, constants);
  }
}

}  // namespace ssmax::kernels::cpu
