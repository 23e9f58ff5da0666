// SPDX-License-Identifier: Apache-2.0
// What GEMEL_MUTANT puts around the production parts of gemeld_broken, which is otherwise gemeld:
// the linker leads two of its calls here (CMakeLists.txt). gemeld itself has no such hook.
#include "controller/mirror_node.hpp"
#include "controller/mirror_storage.hpp"
#include "tests/sim/mutants.hpp"

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace {

using OpenedStorage = gemel::Result<std::unique_ptr<gemel::MirrorStorage>>;

bool is_mutant(std::string_view name) {
    const char* chosen = std::getenv("GEMEL_MUTANT");
    return chosen != nullptr && name == chosen;
}

// Of the last storage opened, for the links made later: this program has one mirror.
gemel::Loop* loop_of_storage = nullptr;

}  // namespace

namespace gemel {

// Declared with the names that --wrap gives to the callers' and to the real function.
OpenedStorage open_broken(Loop& loop, LogSink& log, const MirrorStorageOptions& options,
                          std::string& why) noexcept
    asm("__wrap__ZN5gemel13MirrorStorage4openERNS_4LoopERNS_7LogSinkERKNS_20MirrorStorageOptionsE"
        "RNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");
OpenedStorage open_real(Loop& loop, LogSink& log, const MirrorStorageOptions& options,
                        std::string& why) noexcept
    asm("__real__ZN5gemel13MirrorStorage4openERNS_4LoopERNS_7LogSinkERKNS_20MirrorStorageOptionsE"
        "RNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");
// Member functions: `this` is the first argument.
void on_session_broken(MirrorNode* node, std::unique_ptr<PeerLink> link) asm(
    "__wrap__ZN5gemel10MirrorNode10on_sessionESt10unique_ptrINS_8PeerLinkESt14default_deleteIS"
    "2_EE");
void on_session_real(MirrorNode* node, std::unique_ptr<PeerLink> link) asm(
    "__real__ZN5gemel10MirrorNode10on_sessionESt10unique_ptrINS_8PeerLinkESt14default_deleteIS"
    "2_EE");

OpenedStorage open_broken(Loop& loop, LogSink& log, const MirrorStorageOptions& options,
                          std::string& why) noexcept {
    OpenedStorage opened = open_real(loop, log, options, why);
    loop_of_storage = &loop;
    if (opened.ok() && is_mutant("forget_intents")) {
        MirrorStorage& storage = *opened.value();
        storage.intents = std::make_unique<sim::ForgetfulIntents>(std::move(storage.intents));
    }
    return opened;
}

void on_session_broken(MirrorNode* node, std::unique_ptr<PeerLink> link) {
    if (is_mutant("acknowledge_early")) {
        link = std::make_unique<sim::EarlyAckLink>(*loop_of_storage, std::move(link));
    }
    on_session_real(node, std::move(link));
}

}  // namespace gemel
