// SPDX-License-Identifier: Apache-2.0
// Which kernel features are here, and what the absence of each costs. Tries what can be tried
// without leaving a trace, and asks the kernel's version for the rest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

enum class DoctorVerdict : std::uint8_t {
    present,
    absent,   // gemel works without it, at the cost that is told
    needed,   // absent, and gemel cannot work without it
    unknown,  // could not be found out, for the reason that is told
};
std::string_view doctor_verdict_name(DoctorVerdict verdict) noexcept;

struct DoctorFinding {
    std::string feature;  // "io_uring", "FUSE passthrough", ...
    DoctorVerdict verdict = DoctorVerdict::unknown;
    std::string detail;  // what was found: a version, an error
    std::string cost;    // what its absence costs; set unless present
};

std::vector<DoctorFinding> examine_machine();
// Whether the directory's file system keeps `trusted.` attributes. A file without a name is made
// there and vanishes with its descriptor.
DoctorFinding examine_attributes(const std::string& directory);

// {"features":[{"feature","verdict","detail","cost"}]}
std::string to_json(const std::vector<DoctorFinding>& findings);
// One line for each finding, the costs below it.
std::string to_text(const std::vector<DoctorFinding>& findings);

// "6.1.0-13-amd64" is at least 6.1. False for what is no version.
bool kernel_is_at_least(std::string_view release, unsigned major, unsigned minor) noexcept;

}  // namespace gemel
