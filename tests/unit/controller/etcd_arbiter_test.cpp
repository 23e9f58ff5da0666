// SPDX-License-Identifier: Apache-2.0
// A node's questions to etcd, whose members lose answers, repeat requests late, talk nonsense or
// belong elsewhere: what the node is told of a swap is never more than it can know.
#include "controller/etcd_arbiter.hpp"

#include "tests/sim/election_clock.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <map>

namespace gemel {
namespace {

using Json = nlohmann::json;

RegisterValue value(std::uint64_t epoch, std::uint8_t token, std::string serving = "alpha") {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = std::move(serving);
    v.in_sync = {{v.serving, {uuid(1), uuid(2)}}};
    v.token = uuid(token);
    return v;
}

// One cluster of etcd: keys and values as the gateway has them, in base64.
struct Cluster {
    std::string id;
    std::map<std::string, std::string> values;

    [[nodiscard]] Json header() const { return {{"cluster_id", id}, {"revision", "7"}}; }
    [[nodiscard]] Json entries(const std::string& key) const {
        const auto found = values.find(key);
        if (found == values.end()) return Json::object();
        return {{"kvs", Json::array({{{"key", key}, {"value", found->second}}})}, {"count", "1"}};
    }
    std::string answer(const std::string& path, const Json& question) {
        if (path == kEtcdRangePath) {
            EXPECT_FALSE(question.value("serializable", false));
            Json answer = entries(question["key"]);
            answer["header"] = header();
            return answer.dump();
        }
        const Json& compare = question["compare"][0];
        const std::string key = compare["key"];
        const auto found = values.find(key);
        const bool holds = compare["target"] == "VERSION"
                               ? found == values.end() && compare["version"] == "0"
                               : found != values.end() && compare["value"] == found->second;
        Json answer{{"header", header()}};
        if (!holds) {
            answer["responses"] = Json::array({{{"response_range", entries(key)}}});
            return answer.dump();
        }
        values[key] = question["success"][0]["request_put"]["value"];
        answer["succeeded"] = true;
        answer["responses"] = Json::array({{{"response_put", Json::object()}}});
        return answer.dump();
    }
};

struct Member {
    enum class Mood { fine, refuses, loses_answer, hangs, talks_nonsense, has_no_leader };
    Cluster* cluster = nullptr;
    Mood mood = Mood::fine;
    int asked = 0;
    std::vector<EtcdRequest> held;  // while it hangs: may still be carried out
};

class FakeTransport final : public EtcdTransport {
   public:
    FakeTransport(sim::ElectionLoop& loop, std::array<Member, 3>& members)
        : loop_(loop), members_(members) {}
    void ask(EtcdRequest request, std::function<void(const EtcdReply&)> done) override {
        Member& member = members_[request.member];
        ++member.asked;
        EtcdReply reply;
        Duration time = Duration::milliseconds(2);
        switch (member.mood) {
            case Member::Mood::refuses:
                reply.may_have_arrived = false;
                reply.error = "Connection refused";
                break;
            case Member::Mood::loses_answer:
                member.cluster->answer(request.path, Json::parse(request.body));
                reply.error = "Empty reply from server";
                break;
            case Member::Mood::hangs:
                time = request.limit;
                reply.error = "no answer in time";
                member.held.push_back(std::move(request));
                break;
            case Member::Mood::talks_nonsense:
                reply = {true, true, 200, "<html>", {}};
                break;
            case Member::Mood::has_no_leader:
                reply = {true, true, 503, R"({"error":"etcdserver: no leader","code":14})", {}};
                break;
            case Member::Mood::fine:
                reply = {true,
                         true,
                         200,
                         member.cluster->answer(request.path, Json::parse(request.body)),
                         {}};
                break;
        }
        loop_.schedule(time, [reply, done = std::move(done)] { done(reply); });
    }

   private:
    sim::ElectionLoop& loop_;
    std::array<Member, 3>& members_;
};

class EtcdArbiterTest : public testing::Test {
   protected:
    EtcdArbiterTest() {
        for (Member& member : members) member.cluster = &etcd;
    }
    EtcdArbiter make() {
        EtcdArbiter::Options options;
        options.cluster = "shop";
        options.mirror = "db";
        for (std::uint8_t i = 1; i <= 3; ++i) {
            options.members.push_back({false, {10, 0, 0, i}, 2379});
        }
        return {loop, std::make_unique<FakeTransport>(loop, members), options};
    }
    void all(Member::Mood mood) {
        for (Member& member : members) member.mood = mood;
    }
    SwapAnswer swap(EtcdArbiter& arbiter, const RegisterProposal& what) {
        std::optional<SwapAnswer> result;
        const Instant begin = clock.now();
        arbiter.swap(what, [&](const SwapAnswer& answer) { result = answer; });
        EXPECT_FALSE(result) << "answered inside the call";
        while (!result && clock.run_one(begin + Duration::seconds(10))) {
        }
        EXPECT_LE(clock.now() - begin, Duration::milliseconds(2'200));
        return result.value_or(SwapAnswer{});
    }
    ReadAnswer read(EtcdArbiter& arbiter) {
        std::optional<ReadAnswer> result;
        const Instant begin = clock.now();
        arbiter.read([&](const ReadAnswer& answer) { result = answer; });
        while (!result && clock.run_one(begin + Duration::seconds(10))) {
        }
        return result.value_or(ReadAnswer{});
    }
    std::string& stored() { return etcd.values.begin()->second; }
    void deliver_held(Member& member) {
        for (const EtcdRequest& request : member.held) {
            member.cluster->answer(request.path, Json::parse(request.body));
        }
        member.held.clear();
    }

    sim::ElectionClock clock;
    sim::ElectionLoop loop{clock, Prng(1), uuid(1), 100};
    Cluster etcd{"14841639068965178418", {}};
    std::array<Member, 3> members;
    EtcdArbiter alpha{make()};
    EtcdArbiter beta{make()};
    const RegisterProposal first = proposal({}, value(1, 1));
};

TEST_F(EtcdArbiterTest, ASwapIsWonAndReadByTheOther) {
    EXPECT_TRUE(read(alpha).current.is_empty());
    EXPECT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    const ReadAnswer answer = read(beta);
    EXPECT_TRUE(answer.status.ok());
    EXPECT_EQ(answer.current, value(1, 1));
    EXPECT_EQ(swap(beta, proposal(value(1, 1), value(2, 2, "beta"))).outcome, SwapOutcome::won);
    EXPECT_EQ(read(alpha).current, value(2, 2, "beta"));
}

// What a node wrote or read last is compared without being read again: one transaction a change.
TEST_F(EtcdArbiterTest, OneRequestAChange) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    const int before = members[0].asked;
    ASSERT_EQ(swap(alpha, proposal(value(1, 1), value(2, 2))).outcome, SwapOutcome::won);
    EXPECT_EQ(members[0].asked, before + 1);
}

TEST_F(EtcdArbiterTest, OfTwoProposalsOneWinsAndTheOtherSeesWhich) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    ASSERT_EQ(read(beta).current, value(1, 1));
    EXPECT_EQ(swap(beta, proposal(value(1, 1), value(2, 3, "beta"))).outcome, SwapOutcome::won);
    const SwapAnswer answer = swap(alpha, proposal(value(1, 1), value(2, 2)));
    EXPECT_EQ(answer.outcome, SwapOutcome::lost);
    EXPECT_EQ(answer.current, value(2, 3, "beta"));
}

TEST_F(EtcdArbiterTest, AnyMemberMayBeDown) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    for (std::uint64_t down = 0; down < 3; ++down) {
        all(Member::Mood::fine);
        members[down].mood = Member::Mood::refuses;
        members[(down + 1) % 3].mood = Member::Mood::hangs;
        EXPECT_EQ(swap(alpha, proposal(value(down + 1, std::uint8_t(down + 1)),
                                       value(down + 2, std::uint8_t(down + 2))))
                      .outcome,
                  SwapOutcome::won)
            << down;
        EXPECT_EQ(read(beta).current.epoch, down + 2);
    }
}

TEST_F(EtcdArbiterTest, WithoutAnyMemberNothingHasLeft) {
    all(Member::Mood::refuses);
    const SwapAnswer answer = swap(alpha, first);
    EXPECT_EQ(answer.outcome, SwapOutcome::unreachable);
    EXPECT_EQ(answer.text,
              "no member of etcd answers: 10.0.0.1:2379: Connection refused, 10.0.0.2:2379: "
              "Connection refused, 10.0.0.3:2379: Connection refused");
    EXPECT_EQ(read(beta).status.code(), Code::disconnected);
}

// A read that was not answered is no sent proposal; a transaction that may have arrived is one.
TEST_F(EtcdArbiterTest, OnlyATransactionThatMayHaveArrivedIsUnknown) {
    all(Member::Mood::hangs);
    EXPECT_EQ(swap(alpha, first).outcome, SwapOutcome::unreachable);
    all(Member::Mood::fine);
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    const RegisterProposal second = proposal(value(1, 1), value(2, 2));
    all(Member::Mood::refuses);
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unreachable);
    EXPECT_TRUE(read(alpha).current.is_empty());
    all(Member::Mood::fine);
    ASSERT_EQ(read(alpha).current, value(1, 1));
    for (const Member::Mood mood :
         {Member::Mood::hangs, Member::Mood::talks_nonsense, Member::Mood::has_no_leader}) {
        all(Member::Mood::fine);
        ASSERT_EQ(read(alpha).current, value(1, 1));
        all(mood);
        EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unknown);
    }
}

TEST_F(EtcdArbiterTest, ALostAnswerIsSettledByTheSameProposal) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    all(Member::Mood::loses_answer);
    const RegisterProposal second = proposal(value(1, 1), value(2, 2));
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unknown);
    all(Member::Mood::fine);
    EXPECT_EQ(read(beta).current, value(2, 2));
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::won);
}

// The next member is asked within the same call, and shows that the first one had carried it out.
TEST_F(EtcdArbiterTest, TheNextMemberSettlesWhatTheFirstDidNotAnswer) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    members[0].mood = Member::Mood::loses_answer;
    EXPECT_EQ(swap(alpha, proposal(value(1, 1), value(2, 2))).outcome, SwapOutcome::won);
    EXPECT_EQ(read(beta).current, value(2, 2));
}

// The request is on its way while something else is recorded: lost, and it stays so when it comes.
TEST_F(EtcdArbiterTest, WhatIsLostIsNeverCarriedOutLater) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    all(Member::Mood::hangs);
    const RegisterProposal second = proposal(value(1, 1), value(2, 2));
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unknown);
    all(Member::Mood::fine);
    ASSERT_EQ(swap(beta, proposal(value(1, 1), value(2, 3, "beta"))).outcome, SwapOutcome::won);
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::lost);
    for (Member& member : members) deliver_held(member);
    EXPECT_EQ(read(beta).current, value(2, 3, "beta"));
}

// A read shows the old value, the proposal is sent again, and only then the first one arrives.
TEST_F(EtcdArbiterTest, ALateRequestAndItsRepetitionAreOne) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    all(Member::Mood::hangs);
    const RegisterProposal second = proposal(value(1, 1), value(2, 2));
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unknown);
    all(Member::Mood::fine);
    EXPECT_EQ(read(alpha).current, value(1, 1)) << "an old value, which settles nothing";
    deliver_held(members[1]);
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::won);
    deliver_held(members[0]);
    EXPECT_EQ(read(beta).current, value(2, 2));
}

TEST_F(EtcdArbiterTest, SomethingThatIsNoRegisterIsRefusedAndLeftAlone) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    const std::string good = stored();
    for (const std::string& bad : {std::string("aGVsbG8="), std::string(), good.substr(4)}) {
        stored() = bad;
        const ReadAnswer answer = read(beta);
        EXPECT_EQ(answer.status.code(), Code::corrupt);
        EXPECT_NE(answer.text.find("/gemel/shop/db of etcd holds something that is no register"),
                  std::string::npos);
        const RegisterProposal forced{1, uuid(1), true, value(2, 2)};
        const SwapAnswer swapped = swap(beta, forced);
        EXPECT_EQ(swapped.outcome, SwapOutcome::unreachable);
        EXPECT_EQ(swapped.text, answer.text);
        EXPECT_EQ(stored(), bad);
    }
}

TEST_F(EtcdArbiterTest, AnotherFormatIsRefused) {
    EXPECT_EQ(parse_etcd_document(R"({"format":2,"etcd":"1","register":""})").status().code(),
              Code::foreign);
    for (const char* bad : {"", "[]", "{}", R"({"format":"1","etcd":"1","register":"AA=="})",
                            R"({"format":1,"etcd":"x","register":"AA=="})",
                            R"({"format":1,"etcd":"1","register":" AA="})",
                            R"({"format":1,"etcd":"1","register":"AAAA"})"}) {
        EXPECT_EQ(parse_etcd_document(bad).status().code(), Code::corrupt) << bad;
    }
    const std::string document = etcd_document(value(3, 4), "99");
    EXPECT_NE(document.find("epoch 3, alpha serving, in sync: alpha"), std::string::npos);
    const auto parsed = parse_etcd_document(document);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->value, value(3, 4));
    EXPECT_EQ(parsed->etcd, "99");
}

TEST_F(EtcdArbiterTest, NonsenseIsNoAnswer) {
    for (const char* bad :
         {"", "[]", "{}", R"({"header":{}})", R"({"header":{"cluster_id":7}})",
          R"({"header":{"cluster_id":"7"},"kvs":{}})", R"({"header":{"cluster_id":"7"},"kvs":[1]})",
          R"({"header":{"cluster_id":"7"},"kvs":[{"value":"="}]})",
          R"({"header":{"cluster_id":"7"},"kvs":[{"value":7}]})"}) {
        if (std::string(bad).find("kvs\":[{\"value\":7") == std::string::npos) {
            EXPECT_FALSE(parse_etcd_range(bad).ok()) << bad;
        }
        EXPECT_FALSE(parse_etcd_txn(bad).ok()) << bad;
    }
    // "won" is believed only with the answer to the put.
    EXPECT_FALSE(parse_etcd_txn(R"({"header":{"cluster_id":"7"},"succeeded":true})").ok());
    EXPECT_FALSE(parse_etcd_txn(R"({"header":{"cluster_id":"7"},"succeeded":true,
                                    "responses":[{"response_range":{}}]})")
                     .ok());
}

// A cluster made of another one's backup has the same value, and may be older than that one.
TEST_F(EtcdArbiterTest, ACopyInAnotherClusterIsRefusedButByForce) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    Cluster copy{"5", etcd.values};
    for (Member& member : members) member.cluster = &copy;
    const ReadAnswer answer = read(beta);
    EXPECT_EQ(answer.status.code(), Code::foreign);
    EXPECT_EQ(answer.current, value(1, 1)) << "that a person's force may follow";
    EXPECT_NE(answer.text.find("was written in another etcd cluster"), std::string::npos);
    EXPECT_EQ(swap(beta, proposal(value(1, 1), value(2, 2, "beta"))).outcome,
              SwapOutcome::unreachable);
    // Not even what shows the own token: it was recorded there, not here.
    EXPECT_EQ(swap(alpha, first).outcome, SwapOutcome::unreachable);
    EXPECT_EQ(copy.values, etcd.values);
    const RegisterProposal forced{1, uuid(1), true, value(1025, 2, "beta")};
    EXPECT_EQ(swap(beta, forced).outcome, SwapOutcome::won);
    EXPECT_EQ(read(alpha).current, value(1025, 2, "beta"));
}

// Members of the old cluster and of its copy beside each other in 'address'.
TEST_F(EtcdArbiterTest, ATransactionInTheCopyDoesNotCount) {
    ASSERT_EQ(swap(alpha, first).outcome, SwapOutcome::won);
    Cluster copy{"5", etcd.values};
    members[1].cluster = members[2].cluster = &copy;
    members[0].mood = Member::Mood::refuses;
    const RegisterProposal second = proposal(value(1, 1), value(2, 2));
    const SwapAnswer answer = swap(alpha, second);
    EXPECT_EQ(answer.outcome, SwapOutcome::unknown);
    EXPECT_NE(answer.text.find("belongs to another etcd cluster"), std::string::npos);
    // Nor does it settle anything that the copy shows the token now, or another value.
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unreachable);
    copy.values.clear();
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::unreachable);
    members[0].mood = Member::Mood::fine;
    EXPECT_EQ(read(beta).current, value(1, 1));
    EXPECT_EQ(swap(alpha, second).outcome, SwapOutcome::won);
    EXPECT_EQ(read(beta).current, value(2, 2));
}

TEST_F(EtcdArbiterTest, AnErrorOfEtcdIsToldInItsWords) {
    all(Member::Mood::has_no_leader);
    EXPECT_NE(read(alpha).text.find("10.0.0.2:2379: etcdserver: no leader"), std::string::npos);
    EXPECT_EQ(etcd_error("<html>", 502), "HTTP status 502");
    EXPECT_EQ(etcd_error(R"({"error":"a\nb"})", 400), "a b");
}

}  // namespace
}  // namespace gemel
