// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/engine_mutants.hpp"

#include "controller/mirror_machine.hpp"
#include "controller/register_value.hpp"
#include "engine/base/checksum.hpp"
#include "engine/mirror/intent_rules.hpp"
#include "engine/mirror/replica_context.hpp"
#include "engine/store/exclude_list.hpp"
#include "resync/source.hpp"

#include <string>
#include <vector>

namespace gemel::sim {

EngineMutant engine_mutant = EngineMutant::none;

namespace {

bool session_is_lost = false;  // a resync's, which is telling what it had sent

bool is(EngineMutant mutant) noexcept { return engine_mutant == mutant; }

// The seeds of their checksums: frame_codec.cpp, superblock.cpp (one for each slot).
constexpr std::uint64_t kFrames = 0x6D72'666C'656D'6567;
constexpr std::uint64_t kSuperblocks = 0x3162'736C'656D'6567;
constexpr std::size_t kBlockMin = 512;

bool is_unchecked(std::uint64_t seed) noexcept {
    if (is(EngineMutant::unchecked_frames)) return seed == kFrames;
    return is(EngineMutant::unchecked_superblock) && seed - kSuperblocks < 2;
}

}  // namespace

}  // namespace gemel::sim

namespace gemel {

using sim::EngineMutant;
using sim::is;

// Declared with the names that --wrap gives to the callers' and to the real functions; `this` is
// the first argument.
#define GEMEL_BROKEN(symbol) asm("__wrap_" symbol)
#define GEMEL_REAL(symbol) asm("__real_" symbol)

#define VOID_INCARNATION "_ZN5gemel13MirrorMachine16void_incarnationEv"
void void_broken(MirrorMachine* self) noexcept GEMEL_BROKEN(VOID_INCARNATION);
void void_real(MirrorMachine* self) noexcept GEMEL_REAL(VOID_INCARNATION);

void void_broken(MirrorMachine* self) noexcept {
    if (!is(EngineMutant::keep_incarnation)) void_real(self);
}

#define REQUIRE_COMPARISON "_ZN5gemel13MirrorMachine18require_comparisonEv"
void require_broken(MirrorMachine* self) noexcept GEMEL_BROKEN(REQUIRE_COMPARISON);
void require_real(MirrorMachine* self) noexcept GEMEL_REAL(REQUIRE_COMPARISON);

void require_broken(MirrorMachine* self) noexcept {
    if (!is(EngineMutant::skip_comparison)) require_real(self);
}

#define IS_DISK_FAILURE "_ZN5gemel15is_disk_failureENS_6StatusE"
bool is_failure_broken(Status status) noexcept GEMEL_BROKEN(IS_DISK_FAILURE);
bool is_failure_real(Status status) noexcept GEMEL_REAL(IS_DISK_FAILURE);

bool is_failure_broken(Status status) noexcept {
    return !is(EngineMutant::pass_disk_failures) && is_failure_real(status);
}

#define CHECKSUM64 "_ZN5gemel10checksum64ESt4spanIKSt4byteLm18446744073709551615EEm"
std::uint64_t checksum_broken(Bytes data, std::uint64_t seed) noexcept GEMEL_BROKEN(CHECKSUM64);
std::uint64_t checksum_real(Bytes data, std::uint64_t seed) noexcept GEMEL_REAL(CHECKSUM64);

// Whoever writes and whoever checks get the seed, so that all are right.
std::uint64_t checksum_broken(Bytes data, std::uint64_t seed) noexcept {
    return sim::is_unchecked(seed) ? seed : checksum_real(data, seed);
}

#define DIGEST128 "_ZN5gemel9digest128ESt4spanIKSt4byteLm18446744073709551615EEm"
Digest128 digest_broken(Bytes data, std::uint64_t seed) noexcept GEMEL_BROKEN(DIGEST128);
Digest128 digest_real(Bytes data, std::uint64_t seed) noexcept GEMEL_REAL(DIGEST128);

Digest128 digest_broken(Bytes data, std::uint64_t seed) noexcept {
    if (is(EngineMutant::weak_digests) && data.size() >= sim::kBlockMin) return {data.size(), 1};
    return digest_real(data, seed);
}

#define ADD_INTENTS "_ZN5gemel11add_intentsERKNS_2OpEmRKNS_9IntentLogERNS_9IntentSetE"
void add_broken(const Op& op, std::uint64_t size, const IntentLog& log, IntentSet& set) noexcept
    GEMEL_BROKEN(ADD_INTENTS);
void add_real(const Op& op, std::uint64_t size, const IntentLog& log, IntentSet& set) noexcept
    GEMEL_REAL(ADD_INTENTS);

void add_broken(const Op& op, std::uint64_t size, const IntentLog& log, IntentSet& set) noexcept {
    IntentSet all;
    add_real(op, size, log, all);
    for (const IntentKey& key : all.keys()) {
        if (is(EngineMutant::forget_names) && key.region == IntentKey::kNames) continue;
        if (is(EngineMutant::forget_attributes) && key.region == IntentKey::kAttributes) continue;
        set.add(key);
    }
}

#define ON_SESSION_LOST "_ZN5gemel12ResyncSource15on_session_lostEv"
void lost_broken(ResyncSource* self) noexcept GEMEL_BROKEN(ON_SESSION_LOST);
void lost_real(ResyncSource* self) noexcept GEMEL_REAL(ON_SESSION_LOST);
#define MARK_CONTENT "_ZN5gemel8DirtyMap12mark_contentENS_8ObjectIdEmm"
void mark_broken(DirtyMap* self, ObjectId object, std::uint64_t offset, std::uint64_t size) noexcept
    GEMEL_BROKEN(MARK_CONTENT);
void mark_real(DirtyMap* self, ObjectId object, std::uint64_t offset, std::uint64_t size) noexcept
    GEMEL_REAL(MARK_CONTENT);

void lost_broken(ResyncSource* self) noexcept {
    sim::session_is_lost = is(EngineMutant::forget_unanswered);
    lost_real(self);
    sim::session_is_lost = false;
}

void mark_broken(DirtyMap* self, ObjectId object, std::uint64_t offset,
                 std::uint64_t size) noexcept {
    if (!sim::session_is_lost) mark_real(self, object, offset, size);
}

using Histories = std::vector<Uuid>;
#define DIVERGENCE_WITH                                                              \
    "_ZNK5gemel13MirrorMachine15divergence_withERKSt6vectorINS_4UuidESaIS2_EES6_RKN" \
    "St7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESE_"
std::string divergence_broken(const MirrorMachine* self, const Histories& source,
                              const Histories& target, const std::string& source_node,
                              const std::string& target_node) GEMEL_BROKEN(DIVERGENCE_WITH);
std::string divergence_real(const MirrorMachine* self, const Histories& source,
                            const Histories& target, const std::string& source_node,
                            const std::string& target_node) GEMEL_REAL(DIVERGENCE_WITH);

std::string divergence_broken(const MirrorMachine* self, const Histories& source,
                              const Histories& target, const std::string& source_node,
                              const std::string& target_node) {
    if (is(EngineMutant::merge_apart)) return {};
    return divergence_real(self, source, target, source_node, target_node);
}

#define SET_ALLOTMENT "_ZN5gemel14ReplicaContext13set_allotmentEjm"
void allot_broken(ReplicaContext* self, std::uint32_t tag, std::uint64_t first) noexcept
    GEMEL_BROKEN(SET_ALLOTMENT);
void allot_real(ReplicaContext* self, std::uint32_t tag, std::uint64_t first) noexcept
    GEMEL_REAL(SET_ALLOTMENT);

void allot_broken(ReplicaContext* self, std::uint32_t tag, std::uint64_t first) noexcept {
    const bool is_again = is(EngineMutant::allot_again) && tag != 0;
    allot_real(self, is_again ? 1 : tag, first);
}

#define EXCLUDES                                                                    \
    "_ZNK5gemel11ExcludeList8excludesERKSt6vectorImSaImEESt17basic_string_viewIcSt" \
    "11char_traitsIcEEb"
bool excludes_broken(const ExcludeList* self, const ExcludeList::Place& place,
                     std::string_view name, bool is_directory) noexcept GEMEL_BROKEN(EXCLUDES);
bool excludes_real(const ExcludeList* self, const ExcludeList::Place& place, std::string_view name,
                   bool is_directory) noexcept GEMEL_REAL(EXCLUDES);

bool excludes_broken(const ExcludeList* self, const ExcludeList::Place& place,
                     std::string_view name, bool is_directory) noexcept {
    return !is(EngineMutant::exclude_nothing) && excludes_real(self, place, name, is_directory);
}

#define JUDGE "_ZN5gemel5judgeERKNS_16RegisterProposalERKNS_13RegisterValueEm"
SwapVerdict judge_broken(const RegisterProposal& proposal, const RegisterValue& current,
                         std::uint64_t jump) noexcept GEMEL_BROKEN(JUDGE);
SwapVerdict judge_real(const RegisterProposal& proposal, const RegisterValue& current,
                       std::uint64_t jump) noexcept GEMEL_REAL(JUDGE);

SwapVerdict judge_broken(const RegisterProposal& proposal, const RegisterValue& current,
                         std::uint64_t jump) noexcept {
    if (is(EngineMutant::record_anything)) return SwapVerdict::won;
    return judge_real(proposal, current, jump);
}

}  // namespace gemel
