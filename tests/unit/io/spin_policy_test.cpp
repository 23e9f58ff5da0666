// SPDX-License-Identifier: Apache-2.0
#include "engine/io/uring/spin_policy.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr Duration kMax = Duration::microseconds(100);
constexpr Duration kShort = Duration::microseconds(10), kLong = Duration::seconds(1);
constexpr Duration kNothing{};

// One wait that ends after `waited`; returns how long it was allowed to look.
Duration wait(SpinPolicy& policy, Duration waited) {
    const Duration bound = policy.begin_wait();
    policy.end_wait(waited);
    return bound;
}

// Waits that sleep at once until one may look, which loses the processor again.
unsigned sleeps_until_crowded(SpinPolicy& policy) {
    unsigned count = 0;
    while (policy.begin_wait() == kNothing) {
        policy.end_wait(kShort);
        ++count;
    }
    EXPECT_FALSE(policy.yielded(SpinPolicy::kCrowded));
    policy.end_wait(kLong);
    return count;
}

TEST(SpinPolicy, FollowsWhatWaitsLast) {
    SpinPolicy policy(kMax);
    EXPECT_EQ(wait(policy, kLong), kMax);
    EXPECT_EQ(wait(policy, kLong), kMax / 2);
    for (int i = 0; i < 10; ++i) wait(policy, kLong);
    EXPECT_EQ(wait(policy, kShort), kNothing);
    EXPECT_EQ(wait(policy, kShort), SpinPolicy::kBoundMin);
    for (int i = 0; i < 10; ++i) wait(policy, kShort);
    EXPECT_EQ(wait(policy, kShort), kMax);
}

TEST(SpinPolicy, NeverLooksWithoutABound) {
    SpinPolicy policy(kNothing);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(wait(policy, kNothing), kNothing);
}

TEST(SpinPolicy, SleepsWhereOthersKeepTheProcessor) {
    SpinPolicy policy(kMax);
    EXPECT_EQ(policy.begin_wait(), kMax);
    EXPECT_TRUE(policy.yielded(SpinPolicy::kCrowded - Duration::nanoseconds(1)));
    EXPECT_FALSE(policy.yielded(SpinPolicy::kCrowded));
    policy.end_wait(kLong);
    unsigned expected = SpinPolicy::kSleepsMin;
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(sleeps_until_crowded(policy), expected);
        expected = std::min(expected * 2, SpinPolicy::kSleepsMax);
    }
}

TEST(SpinPolicy, TrustsAgainAfterManyLooksThatPaid) {
    SpinPolicy policy(kMax);
    sleeps_until_crowded(policy);
    sleeps_until_crowded(policy);
    sleeps_until_crowded(policy);
    while (wait(policy, kShort) == kNothing) {
    }
    for (unsigned i = 0; i < SpinPolicy::kSleepsMax; ++i) wait(policy, kShort);
    sleeps_until_crowded(policy);
    EXPECT_EQ(sleeps_until_crowded(policy), SpinPolicy::kSleepsMin);
}

}  // namespace
}  // namespace gemel
