// SPDX-License-Identifier: Apache-2.0
// A mirror machine whose world is a test's hand.
#pragma once

#include "controller/mirror_machine.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

inline const Uuid kBoot = uuid(100);
inline const Incarnation kAlphas{kBoot, uuid(1)};
inline const Incarnation kBetas{uuid(101), uuid(2)};
inline const Uuid kHistory = uuid(50);

inline RegisterValue recorded(std::uint64_t epoch, const std::string& serving,
                              std::vector<RegisterMember> members) {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = serving;
    v.in_sync = std::move(members);
    v.token = uuid(static_cast<std::uint8_t>(200 + epoch));
    return v;
}
inline RegisterValue alpha_only(std::uint64_t epoch) {
    return recorded(epoch, "alpha", {{"alpha", kAlphas}});
}
inline RegisterValue both(std::uint64_t epoch, const std::string& serving = "alpha") {
    return recorded(epoch, serving, {{"alpha", kAlphas}, {"beta", kBetas}});
}

class MachineTest : public testing::Test {
   protected:
    // Alpha's machine with the state a node has after having been in sync at `epoch`.
    explicit MachineTest(std::uint64_t epoch = 5) {
        superblock.node = "alpha";
        superblock.mirror = "db";
        superblock.epoch = epoch;
        superblock.incarnation = kAlphas;
        superblock.histories = {kHistory};
        superblock.volumes.push_back({"/data", uuid(9), false});
    }
    void make() {
        MirrorMachineOptions options;
        options.mirror = "db";
        options.node = "alpha";
        options.peer = "beta";
        options.is_first = true;
        options.directories_are_empty = is_empty;
        options.boot = kBoot;
        options.has_own_epochs = has_own_epochs;
        options.arbiter_name = "the witness";
        options.config = {std::byte{1}};
        machine.emplace(options, superblock, prng);
    }
    void give(MirrorEvent event) {
        if (!machine) make();
        last = machine->step(event);
        for (const MirrorAction& action : last) log.push_back(action);
    }
    template <typename T>
    std::vector<T> all() const {
        std::vector<T> found;
        for (const MirrorAction& action : last) {
            if (const T* a = std::get_if<T>(&action)) found.push_back(*a);
        }
        return found;
    }
    template <typename T>
    T only() const {
        const std::vector<T> found = all<T>();
        EXPECT_EQ(found.size(), 1u);
        return found.empty() ? T{} : found.front();
    }
    bool called(ReplicaCall call) const {
        const auto calls = all<CallReplica>();
        return std::any_of(calls.begin(), calls.end(),
                           [&](const CallReplica& c) { return c.call == call; });
    }
    bool called(ServiceCall call) const {
        const auto calls = all<CallService>();
        return std::any_of(calls.begin(), calls.end(),
                           [&](const CallService& c) { return c.call == call; });
    }
    void read(const RegisterValue& value) { give(RegisterRead{{{}, value, {}}}); }
    void won() { give(RegisterSwapped{{SwapOutcome::won, proposed().value, {}}}); }
    void lost(const RegisterValue& current) {
        give(RegisterSwapped{{SwapOutcome::lost, current, {}}});
    }
    RegisterProposal proposed() const {
        for (auto action = log.rbegin(); action != log.rend(); ++action) {
            if (const auto* swap = std::get_if<SwapRegister>(&*action)) return swap->proposal;
        }
        return {};
    }
    void stored() {
        std::uint64_t ticket = 0;
        for (const MirrorAction& action : log) {
            if (const auto* store = std::get_if<StoreSuperblock>(&action)) ticket = store->ticket;
        }
        give(SuperblockStored{ticket, {}});
    }
    void forgotten() { give(ReplicaNoticed{ReplicaNotice::before_forgotten, {}, {}}); }
    void mounted() {
        std::uint64_t generation = 0;
        for (const MirrorAction& action : log) {
            if (const auto* show = std::get_if<ShowMount>(&action)) generation = show->generation;
        }
        give(ServiceNoticed{ServiceNotice::mounted, generation, {}, {}});
    }
    MirrorHello beta(MirrorState state = MirrorState::wait) const {
        MirrorHello hello;
        hello.state = state;
        hello.epoch = 5;
        hello.incarnation = kBetas;
        hello.histories = {kHistory};
        hello.config = {std::byte{1}};
        return hello;
    }
    // What beta sends when it serves and this node is to be its target.
    static ControlMessage follow_beta(std::uint64_t epoch) {
        ControlMessage message;
        message.kind = ControlKind::follow;
        message.value = recorded(epoch, "beta", {{"beta", kBetas}});
        message.histories = {kHistory};
        return message;
    }
    void control(ControlKind kind, Incarnation incarnation = {}) {
        ControlMessage message;
        message.kind = kind;
        message.incarnation = incarnation;
        give(message);
    }
    void start(const RegisterValue& value) {
        give(CommandGiven{Command::start, 1});
        read(value);
    }
    void serve_alone() {
        start(alpha_only(5));
        won();
        stored();
        mounted();
        ASSERT_EQ(machine->state(), MirrorState::alone);
    }
    // From beta's answer to the offer on.
    void take_in_beta() {
        control(ControlKind::following);
        give(ReplicaNoticed{ReplicaNotice::resync_complete, {}, {}});
        stored();
        control(ControlKind::ready, {uuid(101), uuid(3)});
        won();
        stored();
        ASSERT_EQ(machine->state(), MirrorState::primary);
    }
    void become_primary() {
        serve_alone();
        give(SessionUp{});
        give(beta());
        take_in_beta();
    }

    // The register's value then.
    RegisterValue become_secondary() {
        start(recorded(5, "beta", {{"beta", kBetas}}));
        give(SessionUp{});
        give(follow_beta(5));
        forgotten();
        const Superblock target = only<StoreSuperblock>().superblock;
        EXPECT_FALSE(target.is_consistent);
        EXPECT_NE(target.incarnation.number, kAlphas.number);
        EXPECT_FALSE(called(ReplicaCall::begin_following)) << "its incarnation is not durable yet";
        stored();
        EXPECT_TRUE(called(ReplicaCall::begin_following));
        control(ControlKind::complete);
        give(ReplicaNoticed{ReplicaNotice::volumes_synced, {}, {}});
        stored();
        ControlMessage joined;
        joined.kind = ControlKind::joined;
        joined.value = both(6, "beta");
        joined.value.in_sync[0].incarnation = target.incarnation;
        give(joined);
        EXPECT_EQ(machine->state(), MirrorState::secondary);
        return joined.value;
    }

    Superblock superblock;
    bool is_empty = false;
    bool has_own_epochs = false;
    Prng prng{1};
    std::optional<MirrorMachine> machine;
    MirrorActions last, log;
};

}  // namespace gemel
