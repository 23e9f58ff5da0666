// SPDX-License-Identifier: Apache-2.0
// Gray failures, one by one (controller/README.md).
#include "tests/unit/controller_machine/machine_fixture.hpp"

namespace gemel {
namespace {

TEST_F(MachineTest, SecondaryTakesOverFromANodeWhoseDiskHangs) {
    const RegisterValue joined = become_secondary();
    give(DisksJudged{false, true, Duration::seconds(31)});
    // Not before it is known that the arbiter can be asked.
    EXPECT_TRUE(all<CloseSession>().empty());
    give(RegisterRead{{Status(Code::disconnected), {}, "nobody answers"}});
    EXPECT_TRUE(all<CloseSession>().empty());
    give(TimerFired{MirrorTimer::retry});
    read(joined);
    EXPECT_EQ(all<CloseSession>().size(), 1u);
    EXPECT_TRUE(called(ReplicaCall::stop));
    EXPECT_TRUE(all<SwapRegister>().empty());
    // The node that hangs is back at once, and says that it serves.
    give(SessionUp{});
    MirrorHello serving = beta(MirrorState::primary);
    serving.is_serving = true;
    give(serving);
    read(joined);
    EXPECT_EQ(all<CloseSession>().size(), 1u);
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, SecondaryStaysWhenBothDisksHang) {
    const RegisterValue joined = become_secondary();
    give(DisksJudged{true, true, Duration::seconds(31)});
    read(joined);
    EXPECT_TRUE(all<CloseSession>().empty());
    EXPECT_EQ(machine->state(), MirrorState::secondary);
}

TEST_F(MachineTest, NodeWhoseDiskHangsGivesWayToALivingPeer) {
    become_primary();
    give(DisksJudged{true, false, {}});
    give(SessionLost{"closed by the peer"});
    EXPECT_TRUE(all<SwapRegister>().empty());
    // Not recorded yet: the register is looked at again.
    give(TimerFired{MirrorTimer::retry});
    read(machine->known());
    EXPECT_TRUE(all<SwapRegister>().empty());
    give(TimerFired{MirrorTimer::retry});
    read(recorded(machine->known().epoch + 1, "beta", {{"beta", {uuid(101), uuid(3)}}}));
    EXPECT_TRUE(called(ServiceCall::abort_mount));
    EXPECT_EQ(machine->state(), MirrorState::wait);
}

TEST_F(MachineTest, NodeThatGivesWaySaysSo) {
    become_primary();
    give(DisksJudged{true, false, {}});
    give(SessionLost{"reset"});
    give(SessionUp{});
    EXPECT_TRUE(only<SendHello>().hello.gives_way);
    // No op of its own is held against the peer meanwhile.
    give(ReplicaNoticed{ReplicaNotice::peer_stuck, {}, "an op waits"});
    EXPECT_TRUE(all<CloseSession>().empty());
}

TEST_F(MachineTest, NodeIsTakenOverFromWhenItGivesWay) {
    start(both(6, "beta"));
    give(SessionUp{});
    MirrorHello held = beta(MirrorState::primary);
    held.is_serving = true;
    give(held);
    EXPECT_TRUE(all<SwapRegister>().empty());
    held.gives_way = true;
    give(held);
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, TargetWhoseDiskHangsIsLeftBehindUntilItDoesNot) {
    serve_alone();
    give(SessionUp{});
    give(beta());
    control(ControlKind::following);
    give(DisksJudged{false, true, Duration::seconds(31)});
    EXPECT_EQ(all<CloseSession>().size(), 1u);
    EXPECT_TRUE(called(ReplicaCall::detach));
    give(SessionUp{});
    give(beta());
    EXPECT_TRUE(all<SendControl>().empty());
    give(DisksJudged{false, false, {}});
    EXPECT_EQ(only<SendControl>().message.kind, ControlKind::follow);
}

TEST_F(MachineTest, CopyThatHasFailedIsShownAsTheDiskHasIt) {
    superblock.volumes[0].must_compare = true;
    start(alpha_only(5));
    won();
    stored();
    ASSERT_EQ(all<CallReplica>().front().call, ReplicaCall::distrust_cache);
    EXPECT_EQ(all<CallReplica>()[1].call, ReplicaCall::begin_alone);
}

TEST_F(MachineTest, NodeWhoseDiskHangsGoesOnWhenThePeerHadItsTime) {
    become_primary();
    give(DisksJudged{true, false, {}});
    give(SessionLost{"reset"});
    EXPECT_TRUE(all<SwapRegister>().empty());
    give(TimerFired{MirrorTimer::yield});
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
}

TEST_F(MachineTest, NodeWhoseDiskHangsGoesOnAtOnceWhenThePeerIsDeadOrItsDiskIsBack) {
    become_primary();
    give(DisksJudged{true, false, {}});
    give(PeerSilent{});
    EXPECT_TRUE(only<SwapRegister>().proposal.value.is_only("alpha"));
    won();
    stored();
    give(DisksJudged{false, false, {}});
    EXPECT_EQ(machine->state(), MirrorState::alone);
}

TEST_F(MachineTest, PeerThatIsLostAgainAndAgainIsLetInLaterEachTime) {
    become_primary();
    std::vector<Duration> pauses;
    for (int i = 0; i < 9; ++i) {
        if (i == 7) give(TimerFired{MirrorTimer::steady});
        give(SessionLost{"reset"});
        for (const SetTimer& timer : all<SetTimer>()) {
            if (timer.timer == MirrorTimer::admit) pauses.push_back(timer.delay);
        }
        won();
        stored();
        give(SessionUp{});
        give(beta());
        if (i >= 2 && i < 7) {
            EXPECT_TRUE(all<SendControl>().empty()) << i;
            give(TimerFired{MirrorTimer::admit});
        }
        EXPECT_EQ(only<SendControl>().message.kind, ControlKind::follow) << i;
        take_in_beta();
    }
    // None for the first two, and none again for one that had stayed for long.
    EXPECT_EQ(pauses, (std::vector{Duration::seconds(1), Duration::seconds(2), Duration::seconds(4),
                                   Duration::seconds(8), Duration::seconds(16)}));
}

}  // namespace
}  // namespace gemel
