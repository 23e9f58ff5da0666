// SPDX-License-Identifier: Apache-2.0
// What an answered sync stands for while a pair is being made, and of objects that are gone.
#include "engine/io/sim/fault_policy.hpp"
#include "tests/unit/resync/resync_fixture.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace gemel::resync_test {

class SyncTest : public ResyncTest {
   protected:
    Status sync(ObjectId object) {
        TestSync request;
        request.object = object;
        a_->replica->sync(request);
        EXPECT_TRUE(world_->run_until(
            [&] { return request.done || !a_->failures.empty() || !b_->failures.empty(); }));
        EXPECT_TRUE(request.done);
        return request.outcome;
    }
    void expect_no_failure() {
        for (const Side* side : {a_.get(), b_.get()}) {
            for (const std::string& failure : side->failures) {
                ADD_FAILURE() << side->node.name() << ": " << failure;
            }
        }
    }
};

// A directory may be open and removed, and fsync(2) of it is nothing that a disk could fail at.
TEST_F(SyncTest, RemovedDirectoryIsNoFailureOfTheDisk) {
    begin(21);
    connect();
    ASSERT_TRUE(finish());
    join();
    const ObjectId d = make_dir(kRootObject, "d");
    unlink(kRootObject, "d", true);
    EXPECT_TRUE(sync(d).ok());
    expect_no_failure();
    go_alone();
    const ObjectId e = make_dir(kRootObject, "e");
    unlink(kRootObject, "e", true);
    EXPECT_TRUE(sync(e).ok());
    expect_no_failure();
}

// More files hold unsynced data than may be open, so some op has to sync all of them before it
// begins; that fails, and its owner ends the service at once, in the middle of the op.
TEST_F(SyncTest, LostPagesAreFoundInTheMiddleOfAnOp) {
    for (std::uint64_t skip = 0; skip < 12; ++skip) {
        open_files_max_ = 16;
        begin(23);
        connect();
        ASSERT_TRUE(finish());
        join();
        std::vector<ObjectId> files;
        for (int i = 0; i < 30; ++i) {
            files.push_back(make_file(kRootObject, "f" + std::to_string(i), "x"));
        }
        sim::ScriptedFaults faults;
        sim::ScriptedFaults::Rule rule;
        rule.call = sim::VfsCall::sync_file_system;
        rule.count = sim::ScriptedFaults::kForEver;
        rule.fault = {ENOSPC, true, 0};
        faults.add(rule);
        a_->node.set_fault_policy(&faults);
        Status reason;
        a_->on_failure = [&](Status why) {
            reason = why;
            a_->on_failure = nullptr;
            a_->replica->stop();
        };
        std::vector<std::unique_ptr<TestOp>> ops;
        for (std::size_t i = 0; i < 12; ++i) {
            auto op = std::make_unique<TestOp>();
            op->op.kind = i < skip ? OpKind::write : OpKind::truncate;
            op->op.object = files[i];
            op->data = i < skip ? std::string(10, 'y') : std::string();
            op->op.size = 10;
            op->op.data = as_bytes(op->data);
            ops.push_back(std::move(op));
        }
        for (const auto& op : ops) a_->replica->submit(*op);
        ASSERT_TRUE(world_->run_until([&] {
            return std::all_of(ops.begin(), ops.end(), [](const auto& op) { return op->done; });
        }));
        EXPECT_EQ(a_->failures.size(), 1U);
        EXPECT_TRUE(is_disk_failure(reason)) << reason.to_string();
        a_->node.set_fault_policy(nullptr);
        TearDown();
    }
}

}  // namespace gemel::resync_test
