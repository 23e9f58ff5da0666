// SPDX-License-Identifier: Apache-2.0
// Each kind of op, and one of the nodes lost at each of its steps, in each way: whoever goes on has
// what was acknowledged, and both copies are equal when the other has come back.
#include "engine/io/sim/fault_policy.hpp"
#include "tests/unit/resync/op_catalogue.hpp"

#include <map>
#include <utility>

namespace gemel::resync_test {

class InterruptionTest : public OpCatalogueTest {
   protected:
    enum class End : std::uint8_t { error, kill, power };

    // Of a node lost at the n-th call of its file system since the op began, from the first to the
    // op's last.
    template <typename Try>
    void sweep(Try&& one) {
        for (const CatalogueOp& tried : all_ops()) {
            for (std::uint64_t n = 1;; ++n) {
                TearDown();
                begin_joined();
                const std::unique_ptr<TestOp> op = tried.prepare();
                // Until nothing is known to differ: what the op leaves half done, it has to mark.
                world_->run_for(Duration::seconds(45));
                ASSERT_EQ(a_->intents->live_count() + b_->intents->live_count(), 0U);
                const bool hit = one(*op, n);
                expect_equal(tried.what + ", call " + std::to_string(n));
                if (HasFailure()) return;
                if (!hit) break;
            }
        }
    }
    void submit(TestOp& op) {
        op.op.name = op.name;
        op.op.new_name = op.new_name;
        op.op.data = as_bytes(op.data);
        a_->replica->submit(op);
    }
    void resync() {
        a_->failures.clear();
        b_->failures.clear();
        connect();
        ASSERT_TRUE(finish());
        join();
        ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    }
    // b_ goes on, and is a_ from here on.
    void take_over() {
        wire_->cut();
        if (a_->replica != nullptr) a_->close();
        b_->replica->begin_alone(++epoch_);
        std::swap(a_, b_);
        memory_ = {};
        b_->open(Uuid{});
    }
};

// The secondary refuses a call: it leaves, what it has done of the op stays, and it comes back.
TEST_F(InterruptionTest, SecondaryFailsAtACall) {
    sweep([this](TestOp& op, std::uint64_t n) {
        struct NthCall final : sim::FaultPolicy {
            std::uint64_t left = 0;
            bool hit = false;
            sim::VfsFault before(const sim::VfsFaultPoint& point) noexcept override {
                const bool changes =
                    point.call == sim::VfsCall::write || point.call == sim::VfsCall::truncate ||
                    point.call == sim::VfsCall::make || point.call == sim::VfsCall::link ||
                    point.call == sim::VfsCall::unlink || point.call == sim::VfsCall::rename ||
                    point.call == sim::VfsCall::set_xattr || point.call == sim::VfsCall::copy ||
                    point.call == sim::VfsCall::allocate ||
                    point.call == sim::VfsCall::set_attributes;
                if (!changes || hit || --left > 0) return {};
                hit = true;
                return {ENOSPC, false, 0};
            }
        } nth;
        nth.left = n;
        b_->node.set_fault_policy(&nth);
        submit(op);
        world_->run_until([&] { return op.done || !b_->failures.empty(); });
        b_->node.set_fault_policy(nullptr);
        if (!nth.hit) return false;
        go_alone();
        EXPECT_TRUE(world_->run_until([&] { return op.done; }));
        resync();
        return true;
    });
}

TEST_F(InterruptionTest, SecondaryIsKilledAtACall) {
    for (const bool power : {false, true}) {
        sweep([this, power](TestOp& op, std::uint64_t n) {
            b_->node.die_at_vfs_call(n, power);
            submit(op);
            world_->run_until([&] { return op.done || !b_->node.has_process(); });
            if (b_->node.has_process()) {
                b_->node.die_at_vfs_call(0);
                return false;
            }
            go_alone();
            b_->close();
            EXPECT_TRUE(world_->run_until([&] { return op.done; }));
            b_->open(Uuid{});
            resync();
            return true;
        });
    }
}

// What it had answered is with the other, which goes on.
TEST_F(InterruptionTest, ServingNodeIsKilledAtACallAndTheOtherTakesOver) {
    for (const bool power : {false, true}) {
        sweep([this, power](TestOp& op, std::uint64_t n) {
            const std::map<std::string, std::string> before = tree_of(*b_);
            a_->node.die_at_vfs_call(n, power);
            submit(op);
            world_->run_until([&] { return op.done || !a_->node.has_process(); });
            if (a_->node.has_process()) {
                a_->node.die_at_vfs_call(0);
                return false;
            }
            if (op.done && op.outcome.ok()) {
                EXPECT_NE(tree_of(*b_), before);
            }
            take_over();
            resync();
            return true;
        });
    }
}

// It is back before the other has noticed, and goes on.
TEST_F(InterruptionTest, ServingNodeIsKilledAtACallAndGoesOn) {
    sweep([this](TestOp& op, std::uint64_t n) {
        a_->node.die_at_vfs_call(n);
        submit(op);
        world_->run_until([&] { return op.done || !a_->node.has_process(); });
        if (a_->node.has_process()) {
            a_->node.die_at_vfs_call(0);
            return false;
        }
        wire_->cut();
        a_->close();
        b_->replica->stop();
        memory_ = {};
        a_->open(Uuid{});
        a_->replica->begin_alone(++epoch_);
        resync();
        return true;
    });
}

}  // namespace gemel::resync_test
