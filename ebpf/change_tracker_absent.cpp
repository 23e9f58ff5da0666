// SPDX-License-Identifier: Apache-2.0
// The tracker in a build without clang, bpftool or libbpf.
#include "ebpf/change_tracker.hpp"

namespace gemel {

Result<std::unique_ptr<ChangeTracker>> ChangeTracker::open(LogSink&, const Options&,
                                                           std::string& why) noexcept {
    why = "this gemel was built without it (clang, bpftool and libbpf are needed)";
    return Status(Code::unsupported);
}

void ChangeTracker::remove(const std::string&) noexcept {}

}  // namespace gemel
