// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/fault_policy.hpp"

#include <iterator>

namespace gemel::sim {

std::string_view vfs_call_name(VfsCall call) noexcept {
    static constexpr std::string_view kNames[] = {
        "open",           "close",     "stat",     "stat-file-system",
        "read",           "write",     "truncate", "allocate",
        "seek",           "copy",      "sync",     "sync-file-system",
        "make",           "link",      "unlink",   "rename",
        "read-link",      "list",      "locate",   "handle",
        "set-attributes", "get-xattr", "set-xattr", "drop-cache"};
    static_assert(std::size(kNames) == static_cast<std::size_t>(VfsCall::drop_cache) + 1);
    return kNames[static_cast<std::size_t>(call)];
}

VfsFault ScriptedFaults::before(const VfsFaultPoint& point) noexcept {
    for (Rule& rule : rules_) {
        if (rule.call != point.call || rule.count == 0) continue;
        if (rule.file_system != nullptr && rule.file_system != point.file_system) continue;
        if (rule.skip > 0) {
            --rule.skip;
            continue;
        }
        if (rule.count != kForEver) --rule.count;
        ++hits_;
        return rule.fault;
    }
    return {};
}

}  // namespace gemel::sim
