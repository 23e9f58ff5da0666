// SPDX-License-Identifier: Apache-2.0
// A resync under a pacer: the range is kept in virtual time, a pause moves nothing and forgets
// nothing, and one that was broken off goes on where it was.
#include "resync/estimate.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <string>

namespace gemel::resync_test {

class PaceTest : public ResyncTest {
   protected:
    static constexpr std::uint64_t kSize = 4 * kMiB;

    // Both hold a file of kSize; then the source goes on alone and writes all of it anew.
    void begin_different() {
        begin(77);
        connect();
        file_ = make_file(kRootObject, "file", std::string(kSize, 'a'));
        ASSERT_TRUE(finish());
        join_and_rest();
        go_alone();
        for (std::uint64_t at = 0; at < kSize; at += kMiB) {
            write(file_, at, std::string(kMiB, 'b'));
        }
        wire_->counts = {};
    }
    [[nodiscard]] std::uint64_t moved() const {
        return a_->progress.bytes_compared + a_->progress.bytes_sent;
    }
    void pause(bool paused) {
        pacer_.set_paused(paused);
        a_->replica->wake_resync();
    }
    bool reach(std::uint64_t bytes) {
        return world_->run_until([&] { return moved() >= bytes; });
    }

    ObjectId file_;
};

// Counted at every step of the world, by what was read for comparing and by what was sent.
TEST_F(PaceTest, KeepsTheHighestRate) {
    begin_different();
    constexpr std::uint64_t kMax = 512 * kKiB;
    constexpr std::uint64_t kItem = 256 * kKiB;  // at most, of a check
    pacer_.set_range({kMax / 2, kMax});
    connect();
    ASSERT_TRUE(world_->run_until([&] { return a_->progress.running; }));
    const Instant start = world_->now();
    std::uint64_t most = 0;
    const auto allowed = [&] {
        const auto passed = static_cast<std::uint64_t>((world_->now() - start).ns / 1'000'000);
        return (passed + 20) * kMax / 1000 + kItem;
    };
    ASSERT_TRUE(world_->run_until([&] {
        if (moved() > allowed()) most = std::max(most, moved() - allowed());
        return a_->complete;
    }));
    EXPECT_EQ(most, 0U);
    // Each compared, found different and sent; the last small range without being compared.
    EXPECT_GE(moved(), 2 * kSize - 64 * kKiB);
    EXPECT_GE((world_->now() - start).ns, Duration::seconds(14).ns);
    join();
    expect_equal();
}

// And not under the least one, however busy the applications are.
TEST_F(PaceTest, ConvergesAtTheLeastRateUnderConstantWriting) {
    begin_different();
    constexpr std::uint64_t kMin = 4 * kMiB;
    pacer_.set_range({kMin, kMin});
    connect();
    std::size_t written = 0;
    const std::function<void()> write_one = [&] {
        if (a_->complete) return;
        ++written;
        auto op = std::make_unique<TestOp>();
        op->op.kind = OpKind::write;
        op->op.object = file_;
        op->op.offset = world_->prng().below(kSize / 4096) * 4096;
        op->op.size = 4096;
        op->data.assign(4096, static_cast<char>('A' + written % 26));
        op->op.data = as_bytes(op->data);
        a_->replica->submit(*op);
        ops_.push_back(std::move(op));
        world_->after(Duration::milliseconds(1), write_one);
    };
    write_one();
    ASSERT_TRUE(world_->run_until([&] { return a_->complete; }));
    // At least the time that comparing and sending take at this rate.
    EXPECT_GT(written, 1000 * 2 * kSize / kMin * 9 / 10);
    EXPECT_LE(moved(), 3 * kSize);
    join();
    ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    expect_equal();
}

TEST_F(PaceTest, PausedSendsNoItemsWhileOpsGoOn) {
    begin_different();
    pacer_.set_range({kMiB, 4 * kMiB});
    connect();
    ASSERT_TRUE(reach(kMiB));
    pause(true);
    world_->run_for(Duration::seconds(5));  // what was on its way arrives
    const std::uint64_t at_pause = moved();
    const FrameCounts counts = wire_->counts;
    // What is clean is shipped, what is dirty is marked; neither waits for the resync.
    write(file_, 0, "shipped");
    write(file_, kSize - kDirtyUnit, "marked");
    make_file(kRootObject, "new", "content");
    world_->run_for(Duration::seconds(120));
    EXPECT_EQ(moved(), at_pause);
    for (const FrameType item :
         {FrameType::resync_names, FrameType::resync_attributes, FrameType::resync_check,
          FrameType::resync_content, FrameType::resync_end}) {
        EXPECT_EQ(wire_->counts.frames[item],
                  counts.frames.count(item) ? counts.frames.at(item) : 0)
            << static_cast<int>(item);
    }
    EXPECT_GT(wire_->counts.frames[FrameType::op], 0U);
    EXPECT_FALSE(a_->complete);
    EXPECT_FALSE(a_->lost);
    EXPECT_EQ(a_->replica->waiting_for_peer(), Duration{});
    pause(false);
    expect_good_end();
}

// Paused before there is a session, and still so in the next one: it is never in sync meanwhile.
TEST_F(PaceTest, StaysPausedOverSessions) {
    begin_different();
    pause(true);
    connect();
    world_->run_for(Duration::seconds(60));
    EXPECT_EQ(moved(), 0U);
    EXPECT_FALSE(a_->complete);
    go_alone();
    connect();
    world_->run_for(Duration::seconds(60));
    EXPECT_EQ(moved(), 0U);
    EXPECT_FALSE(a_->complete);
    pause(false);
    expect_good_end();
}

// The last word of the target is under way when the pause begins: it counts, nothing else does.
TEST_F(PaceTest, PausedAtTheEndIsInSyncOrGoesOn) {
    begin_different();
    connect();
    wire_->before_delivery = [this](int side, FrameType type, Bytes) {
        if (side == 1 && type == FrameType::resync_done) {
            pause(true);
            auto op = std::make_unique<TestOp>();
            op->op.kind = OpKind::create;
            op->op.parent = kRootObject;
            op->name = "late";
            op->op.name = op->name;
            op->op.mode = S_IFREG | 0644;
            a_->replica->submit(*op);
            ops_.push_back(std::move(op));
        }
    };
    world_->run_for(Duration::seconds(30));
    wire_->before_delivery = nullptr;
    pause(false);
    expect_good_end();
}

// What the resync of a block volume waits for is let go with the pause: at whatever moment that
// begins, writes go on.
TEST_F(PaceTest, PausedHoldsNoWriteOfABlockVolume) {
    constexpr std::uint16_t kBlock = 1;
    constexpr std::uint64_t kDepth = 4;
    begin(78);
    for (Side* side : {b_.get(), a_.get()}) {
        side->kill_process();
        side->block_size = kSize;
        side->open(id_);
    }
    a_->replica->begin_alone(epoch_);
    connect();
    ASSERT_TRUE(finish());
    std::uint64_t written = 0;
    std::size_t unanswered = 0;
    bool is_over = false;
    const auto write_one = [&](TestOp& op) {
        op.done = false;
        op.op = Op();
        op.op.kind = OpKind::write;
        op.op.volume = kBlock;
        op.op.object = kBlockObject;
        op.op.offset = world_->prng().below(kSize / 4096) * 4096;
        op.op.size = 4096;
        op.data.assign(4096, static_cast<char>('A' + written % 26));
        op.op.data = as_bytes(op.data);
        a_->replica->submit(op);
        ++unanswered;
    };
    const std::function<void()> go_on = [&] {
        for (const auto& op : ops_) {
            if (!op->done) continue;
            ++written;
            --unanswered;
            op->done = false;
            if (!is_over) write_one(*op);
        }
        world_->after(Duration::microseconds(200), go_on);
    };
    for (std::uint64_t i = 0; i < kDepth; ++i) {
        ops_.push_back(std::make_unique<TestOp>());
        write_one(*ops_.back());
    }
    go_on();
    for (int i = 0; i < 30; ++i) {
        go_alone();
        a_->replica->require_full_compare();
        connect();
        world_->run_for(Duration::microseconds(
            static_cast<std::int64_t>(1000 + world_->prng().below(200'000))));
        pause(true);
        world_->run_for(Duration::milliseconds(200));
        const std::uint64_t before = written;
        world_->run_for(Duration::milliseconds(50));
        ASSERT_GE(written, before + kDepth) << "pause " << i;
        pause(false);
    }
    is_over = true;
    expect_good_end();
    EXPECT_EQ(unanswered, 0U);
}

// Nothing else is dirty and nobody writes: exactly that is compared, and no more is sent.
TEST_F(PaceTest, MovesWhatWasEstimated) {
    begin_different();
    make_file(kRootObject, "new", std::string(kMiB, 'n'));
    write(file_, kSize / 2, std::string(kSize / 2, 'a'));  // as the target has it
    const ResyncEstimate known = estimate_resync(*a_->replica, false);
    EXPECT_EQ(known.compare_bytes(), kSize);
    EXPECT_EQ(known.send_bytes_max(), kSize + kMiB);
    EXPECT_FALSE(known.volumes[0].full);
    const ResyncEstimate everything = estimate_resync(*a_->replica, true);
    EXPECT_TRUE(everything.volumes[0].full);
    connect();
    ASSERT_TRUE(finish());
    EXPECT_EQ(a_->progress.bytes_compared, known.compare_bytes());
    EXPECT_EQ(a_->progress.bytes_sent, known.send_bytes_max() - kSize / 2);
    join();
    expect_equal();
}

// ---- interrupted ----------------------------------------------------------------------------

// A comparison of copies that are equal goes on behind what has been compared.
TEST_F(PaceTest, ComparesNothingTwiceAfterACutLinkOrAKilledTarget) {
    begin_different();
    connect();
    ASSERT_TRUE(finish());
    join_and_rest();
    go_alone();
    pacer_.set_range({kMiB, kMiB});
    std::uint64_t all = 0;
    for (int cuts = 0; cuts < 3; ++cuts) {
        connect(true);
        ASSERT_TRUE(reach(kMiB));
        all += moved();
        if (cuts == 1) {
            b_->kill_process();
            wire_->cut();
            b_->open(Uuid{});
        } else {
            go_alone();
        }
    }
    connect(true);
    ASSERT_TRUE(finish());
    all += moved();
    EXPECT_GE(all, kSize);
    EXPECT_LE(all, kSize + 3 * (ResyncPacer::kOutstandingMin + kMiB / 4));
    EXPECT_EQ(a_->progress.bytes_sent, 0U);
    join();
    expect_equal();
}

// What has been sent and answered is not sent again, whatever breaks off in between. What the
// target has been given is among its intents, and these are compared in the next session.
TEST_F(PaceTest, SendsNothingTwiceAfterACutLink) {
    begin_different();
    pacer_.set_range({kMiB, 4 * kMiB});
    std::uint64_t sent = 0;
    for (int cuts = 0; cuts < 3; ++cuts) {
        connect();
        ASSERT_TRUE(reach(2 * kMiB));
        sent += a_->progress.bytes_sent;
        go_alone();
    }
    connect();
    ASSERT_TRUE(finish());
    sent += a_->progress.bytes_sent;
    EXPECT_GE(sent, kSize);
    EXPECT_LE(sent, kSize + 3 * (ResyncPacer::kOutstandingMin + kMiB / 4));
    EXPECT_LE(a_->progress.bytes_compared, kSize);
    join();
    expect_equal();
}

// Its machine has not been booted, so that what it had taken is there.
TEST_F(PaceTest, SendsNothingTwiceAfterTheTargetIsKilled) {
    begin_different();
    pacer_.set_range({kMiB, 4 * kMiB});
    connect();
    ASSERT_TRUE(world_->run_until([&] { return a_->progress.bytes_sent >= kSize / 2; }));
    const std::uint64_t first = a_->progress.bytes_sent;
    b_->kill_process();
    wire_->cut();
    b_->open(Uuid{});
    connect();
    ASSERT_TRUE(finish());
    EXPECT_GE(first + a_->progress.bytes_sent, kSize);
    EXPECT_LE(first + a_->progress.bytes_sent, kSize + ResyncPacer::kOutstandingMin + kMiB / 4);
    join();
    expect_equal();
}

// What it knew of the difference is its intents now: all that they cover is compared again.
TEST_F(PaceTest, SendsNothingTwiceAfterTheSourceIsKilled) {
    begin_different();
    pacer_.set_range({kMiB, 4 * kMiB});
    connect();
    ASSERT_TRUE(world_->run_until([&] { return a_->progress.bytes_sent >= kSize / 2; }));
    const std::uint64_t first = a_->progress.bytes_sent;
    a_->kill_process();
    close_session();
    a_->open(Uuid{});
    memory_ = {};
    a_->replica->begin_alone(++epoch_);
    connect();
    ASSERT_TRUE(finish());
    EXPECT_GE(first + a_->progress.bytes_sent, kSize);
    EXPECT_LE(first + a_->progress.bytes_sent, kSize + ResyncPacer::kOutstandingMin + kMiB / 4);
    join();
    expect_equal();
}

}  // namespace gemel::resync_test
