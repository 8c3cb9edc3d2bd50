#include "kernels/attention/attention_form.h"

#include <atomic>

#include "device/gpus.h"

namespace ssmax::kernels {

namespace {

std::atomic<AttentionForm> chosen = AttentionForm::automatic;

}  // namespace

void set_attention_form(AttentionForm form) { chosen = form; }

bool wants_warpgroups(device::Device gpu) {
  return wants_warpgroups(chosen, device::capability_major(gpu));
}

// Automatic is mma: wgmma has run on the emulated device only, and no GPU has timed it.
bool wants_warpgroups(AttentionForm form, int capability_major) {
  return form == AttentionForm::wgmma && capability_major == 9;
}

}  // namespace ssmax::kernels
