#pragma once

namespace ssmax::base {

/// Release, and the commit that was configured. Only version.cpp is compiled anew when they change.
extern const char* const kVersion;
extern const char* const kGitHash;

}  // namespace ssmax::base
