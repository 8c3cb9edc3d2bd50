#pragma once

#include <type_traits>
#include <utility>

namespace ssmax::base {

/// Gives a setting of the whole program a value for a scope; behind it stands Setting{} again, what
/// a program has that never set it:
///   const base::SettingScope scope(kernels::set_attention_form, kernels::AttentionForm::mma);
template <class Setting>
class SettingScope {
 public:
  SettingScope(void (*set)(Setting), std::type_identity_t<Setting> value) : set_(set) {
    set_(std::move(value));
  }
  ~SettingScope() { set_(Setting{}); }
  SettingScope(const SettingScope&) = delete;
  SettingScope& operator=(const SettingScope&) = delete;

 private:
  void (*set_)(Setting);
};

}  // namespace ssmax::base
