// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/fault_policy.hpp"

namespace gemel::sim {

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
