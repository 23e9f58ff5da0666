// SPDX-License-Identifier: Apache-2.0
// What an answered sync stands for while a pair is being made, and of objects that are gone.
#include "tests/unit/resync/resync_fixture.hpp"

#include <sys/stat.h>

namespace gemel::resync_test {

namespace {

class TestSync final : public ClientSync {
   public:
    void on_complete(Status status) noexcept override {
        done = true;
        outcome = status;
    }
    bool done = false;
    Status outcome;
};

}  // namespace

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

}  // namespace gemel::resync_test
