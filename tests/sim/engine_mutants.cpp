// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/engine_mutants.hpp"

#include "controller/mirror_machine.hpp"
#include "engine/mirror/replica_context.hpp"

namespace gemel::sim {

EngineMutant engine_mutant = EngineMutant::none;

}  // namespace gemel::sim

namespace gemel {

using sim::engine_mutant;
using sim::EngineMutant;

// Declared with the names that --wrap gives to the callers' and to the real functions; `this` is
// the first argument.
void void_broken(MirrorMachine* self) noexcept
    asm("__wrap__ZN5gemel13MirrorMachine16void_incarnationEv");
void void_real(MirrorMachine* self) noexcept
    asm("__real__ZN5gemel13MirrorMachine16void_incarnationEv");
void require_broken(MirrorMachine* self) noexcept
    asm("__wrap__ZN5gemel13MirrorMachine18require_comparisonEv");
void require_real(MirrorMachine* self) noexcept
    asm("__real__ZN5gemel13MirrorMachine18require_comparisonEv");
bool is_failure_broken(Status status) noexcept asm("__wrap__ZN5gemel15is_disk_failureENS_6StatusE");
bool is_failure_real(Status status) noexcept asm("__real__ZN5gemel15is_disk_failureENS_6StatusE");

void void_broken(MirrorMachine* self) noexcept {
    if (engine_mutant != EngineMutant::keep_incarnation) void_real(self);
}

void require_broken(MirrorMachine* self) noexcept {
    if (engine_mutant != EngineMutant::skip_comparison) require_real(self);
}

bool is_failure_broken(Status status) noexcept {
    return engine_mutant != EngineMutant::pass_disk_failures && is_failure_real(status);
}

}  // namespace gemel
