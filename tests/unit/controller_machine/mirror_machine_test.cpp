// SPDX-License-Identifier: Apache-2.0
// The machine's transitions one by one, its answers to the world given by hand. What many of them
// make together is the business of tests/sim/election_test.cpp.
#include "tests/unit/controller_machine/machine_fixture.hpp"

#include <algorithm>

namespace gemel {
namespace {

class FirstStart : public MachineTest {
   protected:
    FirstStart() : MachineTest(0) {
        superblock.incarnation = {};
        superblock.histories.clear();
    }
    MirrorHello virgin() const {
        MirrorHello hello = beta();
        hello.epoch = 0;
        hello.incarnation = {};
        hello.histories.clear();
        return hello;
    }
};

TEST_F(FirstStart, WaitsForThePeerAndSaysSo) {
    start({});
    EXPECT_TRUE(all<SwapRegister>().empty());
    EXPECT_NE(machine->reason().find("waits for beta"), std::string::npos);
}

TEST_F(FirstStart, EmptyFirstNodeIsNotCopiedOverAFullOne) {
    is_empty = true;
    start({});
    give(SessionUp{});
    give(virgin());
    EXPECT_TRUE(all<SwapRegister>().empty());
    EXPECT_NE(machine->reason().find("first in 'nodes'"), std::string::npos) << machine->reason();
}

TEST_F(FirstStart, TheFirstOfNodesClaimsAndDrawsAHistory) {
    start({});
    give(SessionUp{});
    give(virgin());
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
    won();
    EXPECT_EQ(only<StoreSuperblock>().superblock.histories.size(), 1u);
    EXPECT_FALSE(called(ReplicaCall::begin_alone));
    stored();
    EXPECT_TRUE(called(ReplicaCall::begin_alone));
}

TEST_F(MachineTest, AddressAndApplicationComeAfterTheMountAndTheMountAfterTheStore) {
    start(alpha_only(5));
    won();
    EXPECT_TRUE(all<ShowMount>().empty());
    stored();
    EXPECT_EQ(only<ShowMount>().mode, MountMode::serving);
    EXPECT_FALSE(called(ServiceCall::claim_addresses));
    mounted();
    EXPECT_TRUE(called(ServiceCall::claim_addresses));
    EXPECT_TRUE(called(ServiceCall::start_application));
}

TEST_F(MachineTest, BeginsWithoutTheAddressesThatAnEarlierProcessLeft) {
    give(CommandGiven{Command::start, 1});
    EXPECT_TRUE(called(ServiceCall::drop_addresses));
}

TEST_F(MachineTest, RestartAlwaysBeginsANewEpoch) {
    start(alpha_only(5));
    EXPECT_EQ(only<SwapRegister>().proposal.value.epoch, 6u);
    won();
    stored();
    EXPECT_EQ(only<CallReplica>().epoch, 6u);
}

// Where both may win apart from each other, what one begins at the other never does.
TEST_F(MachineTest, EpochsOfItsOwnAreEvenForTheFirstNode) {
    has_own_epochs = true;
    start(alpha_only(5));
    EXPECT_EQ(proposed().value.epoch, 6u);
    won();
    machine.reset();
    start(alpha_only(6));
    EXPECT_EQ(proposed().value.epoch, 8u);
}

TEST_F(MachineTest, WhatTheArbiterIsNotSureOfIsTold) {
    start(alpha_only(5));
    give(RegisterSwapped{{SwapOutcome::won, proposed().value, "decided by a ping"}});
    EXPECT_EQ(all<Announce>().front().text, "decided by a ping");
    stored();
    EXPECT_EQ(machine->reason(), "beta does not hold the newest data; decided by a ping");
}

TEST_F(MachineTest, StateThatIsGoneNeverServesWhatTheRegisterSays) {
    superblock.incarnation = {};
    superblock.histories.clear();
    superblock.epoch = 0;
    start(alpha_only(5));
    EXPECT_TRUE(all<SwapRegister>().empty());
    EXPECT_NE(machine->reason().find("its state is gone"), std::string::npos);
}

TEST_F(MachineTest, RegisterOlderThanOwnEpochIsRefused) {
    start(alpha_only(4));
    EXPECT_TRUE(all<SwapRegister>().empty());
    EXPECT_NE(machine->reason().find("older than epoch 5"), std::string::npos);
}

TEST_F(MachineTest, AnotherBootIsInNoSet) {
    superblock.incarnation.boot = uuid(77);
    start(both(5));
    give(PeerSilent{});
    EXPECT_TRUE(all<SwapRegister>().empty());
    EXPECT_NE(machine->reason().find("lost what it held"), std::string::npos);
}

TEST_F(MachineTest, MemberTakesOverFromASilentPeerOnly) {
    start(both(5, "beta"));
    EXPECT_TRUE(all<SwapRegister>().empty());
    give(PeerSilent{});
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, MemberTakesOverAtOnceFromAPeerThatWasRebooted) {
    start(both(5, "beta"));
    give(SessionUp{});
    MirrorHello hello = beta();
    hello.incarnation = {uuid(102), {}};
    give(hello);
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, AnArbiterThatFailsIsAskedAgainByTheTimerOnly) {
    give(CommandGiven{Command::start, 1});
    only<ReadRegister>();
    give(RegisterRead{{Status(Code::disconnected), {}, "nobody answers"}});
    EXPECT_TRUE(all<ReadRegister>().empty());
    EXPECT_EQ(machine->reason(), "nobody answers");
    EXPECT_EQ(only<SetTimer>().timer, MirrorTimer::retry);
    give(TimerFired{MirrorTimer::retry});
    only<ReadRegister>();
}

TEST_F(MachineTest, UnknownOutcomeIsProposedAgainWithItsToken) {
    start(alpha_only(5));
    const Uuid token = proposed().value.token;
    give(RegisterSwapped{{SwapOutcome::unknown, {}, "no answer"}});
    EXPECT_EQ(machine->state(), MirrorState::wait);
    give(TimerFired{MirrorTimer::retry});
    EXPECT_EQ(only<SwapRegister>().proposal.value.token, token);
}

TEST_F(MachineTest, BeginAttachingIsTheAnswerToAllIsAcknowledged) {
    serve_alone();
    give(SessionUp{});
    give(beta());
    EXPECT_EQ(all<SendControl>().back().message.kind, ControlKind::follow);
    control(ControlKind::following);
    EXPECT_TRUE(called(ReplicaCall::attach_target));
    give(ReplicaNoticed{ReplicaNotice::resync_complete, {}, {}});
    ASSERT_FALSE(last.empty());
    const auto* first = std::get_if<CallReplica>(&last.front());
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(first->call, ReplicaCall::begin_attaching);
    EXPECT_TRUE(all<SwapRegister>().empty());
}

TEST_F(MachineTest, LossOfThePeerIsRecordedBeforeAloneAndDrawsAHistory) {
    become_primary();
    give(SessionLost{"reset"});
    EXPECT_TRUE(called(ReplicaCall::detach));
    EXPECT_EQ(machine->state(), MirrorState::primary);
    EXPECT_FALSE(called(ReplicaCall::begin_alone));
    won();
    EXPECT_EQ(only<StoreSuperblock>().superblock.histories.size(), 2u);
    EXPECT_FALSE(called(ReplicaCall::begin_alone));
    stored();
    EXPECT_TRUE(called(ReplicaCall::begin_alone));
    EXPECT_EQ(machine->state(), MirrorState::alone);
}

TEST_F(MachineTest, DeposedNodeEndsServingInOrder) {
    become_primary();
    give(SessionLost{"reset"});
    lost(recorded(8, "beta", {{"beta", kBetas}}));
    std::vector<std::string> order;
    for (const MirrorAction& action : last) {
        if (const auto* r = std::get_if<CallReplica>(&action)) {
            if (r->call == ReplicaCall::stop) order.emplace_back("answer EIO");
        } else if (const auto* s = std::get_if<CallService>(&action)) {
            if (s->call == ServiceCall::abort_mount) order.emplace_back("abort");
            if (s->call == ServiceCall::drop_addresses) order.emplace_back("address");
            if (s->call == ServiceCall::stop_application) order.emplace_back("application");
        } else if (const auto* m = std::get_if<ShowMount>(&action)) {
            order.emplace_back(m->mode == MountMode::guard ? "guard" : "other");
        }
    }
    EXPECT_EQ(order,
              (std::vector<std::string>{"answer EIO", "abort", "address", "application", "guard"}));
    EXPECT_EQ(machine->state(), MirrorState::wait);
}

TEST_F(MachineTest, SecondaryClosesTheSessionBeforeItTakesOver) {
    const RegisterValue joined = become_secondary();
    give(PeerSilent{});
    EXPECT_EQ(all<CloseSession>().size(), 1u);
    EXPECT_TRUE(called(ReplicaCall::stop));
    EXPECT_TRUE(all<SwapRegister>().empty());
    read(joined);
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, DivergedCopyIsDeclinedWithASentence) {
    serve_alone();
    give(SessionUp{});
    MirrorHello hello = beta();
    hello.histories = {uuid(51), kHistory};
    give(hello);
    const auto messages = all<SendControl>();
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].message.kind, ControlKind::decline);
    EXPECT_NE(messages[0].message.text.find("apart from each other"), std::string::npos);
}

TEST_F(MachineTest, DifferentConfigurationIsDeclined) {
    serve_alone();
    give(SessionUp{});
    MirrorHello hello = beta();
    hello.config = {std::byte{2}};
    give(hello);
    EXPECT_EQ(only<SendControl>().message.kind, ControlKind::decline);
}

TEST_F(MachineTest, ForceWithoutAVoteIsMarkedBeforeItServes) {
    start(both(5, "beta"));
    give(CommandGiven{Command::promote_force, 2});
    give(RegisterRead{{Status(Code::disconnected), {}, "no answer"}});
    const Superblock marked = only<StoreSuperblock>().superblock;
    EXPECT_TRUE(marked.served_alone_unrecorded);
    EXPECT_EQ(marked.histories.size(), 2u);
    EXPECT_FALSE(called(ReplicaCall::begin_alone));
    stored();
    EXPECT_TRUE(called(ReplicaCall::begin_alone));
    EXPECT_TRUE(only<ReplyCommand>().done);
}

// A comparison of everything that was interrupted must not go on where it was.
TEST_F(MachineTest, EachReasonToCompareEverythingIsAnother) {
    superblock.is_consistent = false;
    start(recorded(6, "beta", {{"beta", kBetas}}));
    const ControlMessage follow = follow_beta(6);
    const auto fill = [&] {
        give(SessionUp{});
        give(follow);
        stored();
        return only<CallReplica>().copy;
    };
    const CopyToFill first = fill();
    EXPECT_FALSE(first.must_compare);
    give(SessionLost{"reset"});
    EXPECT_EQ(fill().comparison, first.comparison);
    std::vector<CopyToFill> copies{first};
    for (const Command command : {Command::resync_changed, Command::release,
                                  Command::promote_before, Command::resync_full}) {
        SCOPED_TRACE(static_cast<int>(command));
        const bool is_stopped = command == Command::release || command == Command::promote_before;
        if (is_stopped) give(CommandGiven{Command::stop, 2});
        if (command == Command::promote_before) {
            give(CommandGiven{Command::start, 3});
            read(recorded(6, "beta", {{"beta", kBetas}}));
        }
        give(CommandGiven{command, 4});
        if (command == Command::promote_before) {
            stored();
            give(ReplicaNoticed{ReplicaNotice::restored, Status(Code::not_found), "not kept"});
        } else if (is_stopped) {
            give(CommandGiven{Command::start, 5});
        }
        read(recorded(6, "beta", {{"beta", kBetas}}));
        copies.push_back(fill());
        for (std::size_t i = 0; i + 1 < copies.size(); ++i) {
            EXPECT_NE(copies.back().comparison, copies[i].comparison);
        }
        EXPECT_EQ(copies.back().must_compare, command != Command::resync_changed);
    }
}

// It holds until the peer is in sync, whatever is restarted, and for what was compared already.
TEST_F(MachineTest, ComparisonOrderedOnTheServingNodeIsOnRecord) {
    serve_alone();
    give(SessionUp{});
    give(beta());
    control(ControlKind::following);
    give(CommandGiven{Command::resync_full, 3});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    EXPECT_TRUE(all<ReplyCommand>().empty());
    std::vector<ReplicaCall> calls;
    for (const CallReplica& action : all<CallReplica>()) calls.push_back(action.call);
    EXPECT_EQ(calls,
              (std::vector<ReplicaCall>{ReplicaCall::detach, ReplicaCall::compare_everything}));
    stored();
    EXPECT_TRUE(only<ReplyCommand>().done);
    give(SessionUp{});
    give(beta());
    control(ControlKind::following);
    EXPECT_TRUE(only<CallReplica>().full_compare);
    give(ReplicaNoticed{ReplicaNotice::resync_complete, {}, {}});
    stored();
    control(ControlKind::ready, {uuid(101), uuid(3)});
    won();
    stored();
    EXPECT_FALSE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    give(CommandGiven{Command::resync_full, 4});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    EXPECT_TRUE(called(ReplicaCall::compare_everything));
    EXPECT_TRUE(all<ReplyCommand>().empty());
    const std::uint64_t ticket = only<StoreSuperblock>().ticket;
    give(SuperblockStored{ticket, Status::from_errno(ENOSPC)});
    EXPECT_FALSE(only<ReplyCommand>().done);
    EXPECT_NE(only<ReplyCommand>().text.find("state directory"), std::string::npos);
}

TEST_F(MachineTest, GoesBackOnlyWhenItIsOnRecordThatEverythingMustBeCompared) {
    superblock.is_consistent = false;
    start(recorded(6, "beta", {{"beta", kBetas}}));
    give(CommandGiven{Command::promote_before, 2});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    EXPECT_FALSE(called(ReplicaCall::restore_before));
    stored();
    EXPECT_TRUE(called(ReplicaCall::restore_before));
    // Nothing else begins meanwhile.
    give(SessionUp{});
    give(beta());
    read(recorded(6, "beta", {{"beta", kBetas}}));
    EXPECT_TRUE(all<SwapRegister>().empty());
    give(ReplicaNoticed{ReplicaNotice::restored, {}, {}});
    read(recorded(6, "beta", {{"beta", kBetas}}));
    won();
    EXPECT_TRUE(only<StoreSuperblock>().superblock.is_consistent);
    stored();
    EXPECT_TRUE(called(ReplicaCall::begin_alone));
    EXPECT_TRUE(only<ReplyCommand>().done);
}

TEST_F(MachineTest, KeepsNoStateOfACopyThatMustBeCompared) {
    for (const bool must_compare : {false, true}) {
        superblock.is_consistent = false;
        superblock.volumes[0].must_compare = must_compare;
        machine.reset();
        start(recorded(5, "beta", {{"beta", kBetas}}));
        give(SessionUp{});
        give(follow_beta(5));
        stored();
        const auto calls = all<CallReplica>();
        ASSERT_FALSE(calls.empty());
        ASSERT_EQ(calls.back().call, ReplicaCall::begin_following);
        EXPECT_EQ(calls.back().copy.before,
                  must_compare ? BeforeResync::drop : BeforeResync::go_on);
    }
}

// It would be taken for the state before the resync that begins now.
TEST_F(MachineTest, CopyIsNotOnRecordAsHalfFilledWhileSomethingOlderIsKept) {
    start(recorded(5, "beta", {{"beta", kBetas}}));
    give(SessionUp{});
    give(follow_beta(5));
    EXPECT_TRUE(called(ReplicaCall::forget_before));
    EXPECT_TRUE(all<StoreSuperblock>().empty());
    give(ReplicaNoticed{ReplicaNotice::before_forgotten, Status::from_errno(EIO), "EIO", true});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.is_consistent);
    EXPECT_TRUE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    EXPECT_EQ(machine->state(), MirrorState::wait);
    stored();
    // It is tried again later.
    give(TimerFired{MirrorTimer::rejoin});
    give(SessionUp{});
    give(follow_beta(5));
    EXPECT_TRUE(called(ReplicaCall::forget_before));
    give(SessionLost{"reset"});
    forgotten();
    EXPECT_TRUE(all<StoreSuperblock>().empty()) << "late";
    give(SessionUp{});
    give(follow_beta(5));
    forgotten();
    EXPECT_FALSE(only<StoreSuperblock>().superblock.is_consistent);
    stored();
    EXPECT_TRUE(called(ReplicaCall::begin_following));
}

TEST_F(MachineTest, CopyThatCannotGoBackStaysHalfFilled) {
    superblock.is_consistent = false;
    start(recorded(6, "beta", {{"beta", kBetas}}));
    give(CommandGiven{Command::promote_before, 2});
    stored();
    give(ReplicaNoticed{ReplicaNotice::restored, Status(Code::not_found), "it is not kept"});
    EXPECT_FALSE(only<ReplyCommand>().done);
    EXPECT_EQ(only<ReplyCommand>().text, "it is not kept");
    EXPECT_FALSE(machine->superblock().is_consistent);
    EXPECT_EQ(machine->state(), MirrorState::wait);
    // It goes on waiting as any node does: the register is read again and again.
    EXPECT_EQ(all<ReadRegister>().size(), 1u);
    read(recorded(6, "beta", {{"beta", kBetas}}));
    EXPECT_EQ(only<SetTimer>().timer, MirrorTimer::retry);
    give(TimerFired{MirrorTimer::retry});
    EXPECT_EQ(all<ReadRegister>().size(), 1u);
}

TEST_F(MachineTest, CompleteCopyHasNoStateToGoBackTo) {
    start(recorded(6, "beta", {{"beta", kBetas}}));
    give(CommandGiven{Command::promote_before, 2});
    EXPECT_FALSE(only<ReplyCommand>().done);
    EXPECT_TRUE(all<StoreSuperblock>().empty());
}

TEST_F(MachineTest, FailingServingNodeNamesThePeerAndVoidsItself) {
    become_primary();
    give(ReplicaNoticed{ReplicaNotice::local_failure, Status::from_errno(EIO), "EIO"});
    EXPECT_TRUE(called(ReplicaCall::stop));
    EXPECT_TRUE(only<StoreSuperblock>().superblock.incarnation.number.is_none());
    read(machine->known());
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("beta"));
    EXPECT_EQ(machine->state(), MirrorState::wait);
}

TEST_F(MachineTest, OnlyAStoppedMirrorIsReleased) {
    serve_alone();
    give(CommandGiven{Command::release, 7});
    EXPECT_FALSE(only<ReplyCommand>().done);
    EXPECT_TRUE(all<ShowMount>().empty());
}

TEST_F(MachineTest, ReleasedMirrorIsUncoveredWhenItIsOnRecordThatItMustBeCompared) {
    give(CommandGiven{Command::release, 7});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.volumes[0].must_compare);
    EXPECT_TRUE(all<ReplyCommand>().empty());
    EXPECT_TRUE(all<ShowMount>().empty());
    const std::uint64_t ticket = only<StoreSuperblock>().ticket;
    stored();
    EXPECT_TRUE(only<ReplyCommand>().done);
    EXPECT_EQ(only<ShowMount>().mode, MountMode::bare);
    give(CommandGiven{Command::release, 8});
    give(CommandGiven{Command::start, 9});
    give(SuperblockStored{ticket + 1, {}});
    EXPECT_FALSE(only<ReplyCommand>().done);
    EXPECT_TRUE(all<ShowMount>().empty());
}

TEST_F(MachineTest, HistoryDrawnForAWriteIsStoredBeforeTheReplicaHearsOfIt) {
    serve_alone();
    give(ReplicaNoticed{ReplicaNotice::first_write_alone, {}, {}});
    EXPECT_EQ(only<StoreSuperblock>().superblock.histories.size(), 2u);
    EXPECT_FALSE(called(ReplicaCall::history_stored));
    stored();
    EXPECT_TRUE(called(ReplicaCall::history_stored));
}

// A stop that begins while that store is under way must not leave the write waiting for ever.
TEST_F(MachineTest, HistoryStoredDuringAStopStillReachesTheReplica) {
    serve_alone();
    give(ReplicaNoticed{ReplicaNotice::first_write_alone, {}, {}});
    give(CommandGiven{Command::stop, 3});
    stored();
    EXPECT_TRUE(called(ReplicaCall::history_stored));
}

// --- Histories: the one that the peer carries is never forgotten ---------------------------------

class HistoriesTest : public MachineTest {
   protected:
    Superblock last_stored() const {
        Superblock found;
        for (const MirrorAction& action : log) {
            if (const auto* store = std::get_if<StoreSuperblock>(&action)) {
                found = store->superblock;
            }
        }
        return found;
    }
    // Another process goes on with what was stored, named by the register as the only node.
    void restart_alone() {
        superblock = last_stored();
        machine.reset();
        log.clear();
        start(recorded(superblock.epoch, "alpha", {{"alpha", superblock.incarnation}}));
        won();
        stored();
        mounted();
        ASSERT_EQ(machine->state(), MirrorState::alone);
    }
    void write_alone() {
        give(ReplicaNoticed{ReplicaNotice::first_write_alone, {}, {}});
        stored();
    }
    static bool knows(const Superblock& facts, const Uuid& history) {
        return std::find(facts.histories.begin(), facts.histories.end(), history) !=
               facts.histories.end();
    }
};

TEST_F(HistoriesTest, SurviveAnyNumberOfRestartsAlone) {
    serve_alone();
    write_alone();
    for (int round = 0; round < 40; ++round) {
        const Uuid before = last_stored().histories.front();
        restart_alone();
        write_alone();
        ASSERT_NE(last_stored().histories.front(), before);
        ASSERT_TRUE(knows(last_stored(), kHistory)) << "after restart " << round;
    }
}

TEST_F(HistoriesTest, SurviveAnyNumberOfOffersThatThePeerDidNotTake) {
    serve_alone();
    write_alone();
    for (int round = 0; round < 40; ++round) {
        give(TimerFired{MirrorTimer::admit});
        give(SessionUp{});
        give(beta());  // it still has kHistory
        ASSERT_EQ(only<SendControl>().message.kind, ControlKind::follow);
        control(ControlKind::following);
        give(ReplicaNoticed{ReplicaNotice::resync_complete, {}, {}});
        stored();
        ASSERT_EQ(only<SendControl>().message.kind, ControlKind::complete);
        give(SessionLost{"its disk is full"});
        stored();
        ASSERT_TRUE(knows(last_stored(), kHistory)) << "after offer " << round;
        // What was offered may have been taken in the last moment.
        ASSERT_EQ(last_stored().histories.size(), 3u);
    }
}

// A crash between the offer and the mark would replace a history that the peer has by then.
TEST_F(HistoriesTest, AreOfferedOnlyWhenThatIsStored) {
    serve_alone();
    write_alone();
    EXPECT_FALSE(last_stored().history_is_shared);
    give(SessionUp{});
    give(beta());
    control(ControlKind::following);
    give(ReplicaNoticed{ReplicaNotice::resync_complete, {}, {}});
    EXPECT_TRUE(only<StoreSuperblock>().superblock.history_is_shared);
    EXPECT_TRUE(all<SendControl>().empty());
    const Uuid offered = last_stored().histories.front();
    stored();
    EXPECT_EQ(only<SendControl>().message.histories.front(), offered);
    restart_alone();
    write_alone();
    EXPECT_TRUE(knows(last_stored(), offered));
}

// Else an interrupted resync would be refused for the same reason as before the person's choice.
TEST_F(HistoriesTest, OfACopyThatAPersonGaveUpAreDroppedBeforeItIsTouched) {
    superblock.histories = {uuid(51), kHistory};
    start(recorded(6, "beta", {{"beta", kBetas}}));
    give(SessionUp{});
    ControlMessage follow = follow_beta(6);
    follow.histories = {uuid(52), kHistory};
    give(follow);
    EXPECT_EQ(only<SendControl>().message.kind, ControlKind::decline);
    give(CommandGiven{Command::resync_full, 4});
    give(follow);
    forgotten();
    EXPECT_TRUE(only<StoreSuperblock>().superblock.histories.empty());
}

}  // namespace
}  // namespace gemel
