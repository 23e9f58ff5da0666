// SPDX-License-Identifier: Apache-2.0
// Goal: events keep their numbers and order over restarts, torn lines and rotation, and never grow
// without bound; a key file is private, whole, and never overwritten.
#include "controller/event_log.hpp"

#include "controller/keyfile.hpp"
#include "tests/unit/controller/fake_daemon.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <sys/stat.h>

namespace gemel {
namespace {

std::vector<std::uint64_t> numbers(const std::vector<Event>& events) {
    std::vector<std::uint64_t> result;
    for (const Event& event : events) result.push_back(event.seq);
    return result;
}
using Numbers = std::vector<std::uint64_t>;

void add(EventLog& log, const std::string& text) { log.add({}, "db", "state", text); }

TEST(EventLog, GivesWhatCameAfterANumberNewestLast) {
    EventLog log;
    for (int i = 1; i <= 5; ++i) add(log, std::to_string(i));
    EXPECT_EQ(numbers(log.since(0, 100)), (Numbers{1, 2, 3, 4, 5}));
    EXPECT_EQ(numbers(log.since(3, 100)), (Numbers{4, 5}));
    EXPECT_EQ(numbers(log.since(0, 2)), (Numbers{4, 5}));
    EXPECT_EQ(numbers(log.since(5, 100)), Numbers{});
    EXPECT_EQ(log.last_seq(), 5u);
}

TEST(EventLog, KeepsOnlySoManyInMemory) {
    EventLog log(EventLog::Options{3, 1000});
    for (int i = 1; i <= 5; ++i) add(log, "x");
    EXPECT_EQ(numbers(log.since(0, 100)), (Numbers{3, 4, 5}));
}

TEST(EventLog, TellsItsListenerAfterTheEventIsThere) {
    EventLog log;
    std::uint64_t heard = 0;
    log.set_listener([&] { heard = log.last_seq(); });
    add(log, "x");
    EXPECT_EQ(heard, 1u);
}

TEST(EventLog, GoesOnAfterARestartAndATornLine) {
    TemporaryDirectory directory;
    const std::string path = directory.path() + "/events.jsonl";
    {
        EventLog log;
        ASSERT_TRUE(log.open(directory.path()).ok());
        log.add({1'795'344'000, 0}, "db", "state", "a \"quoted\" text\n", {{"from", "wait"}});
        add(log, "two");
    }
    std::ofstream(path, std::ios::app) << R"({"seq":3,"time":"2026)";
    {
        EventLog log;
        ASSERT_TRUE(log.open(directory.path()).ok());
        ASSERT_EQ(numbers(log.since(0, 100)), (Numbers{1, 2}));
        const Event first = log.since(0, 100)[0];
        EXPECT_EQ(first.text, "a \"quoted\" text\n");
        EXPECT_EQ(first.fields.at(0).second, "wait");
        EXPECT_EQ(first.time.seconds, 1'795'344'000);
        add(log, "three");
    }
    EventLog log;
    ASSERT_TRUE(log.open(directory.path()).ok());
    EXPECT_EQ(numbers(log.since(0, 100)), (Numbers{1, 2, 3}));
    EXPECT_EQ(log.since(2, 1)[0].text, "three");
}

TEST(EventLog, RotatesBySizeAndLosesNothingAtOnce) {
    TemporaryDirectory directory;
    {
        EventLog log(EventLog::Options{1000, 1000});
        ASSERT_TRUE(log.open(directory.path()).ok());
        for (int i = 0; i < 20; ++i) add(log, std::string(100, 'x'));
        EXPECT_EQ(log.dropped(), 0u);
    }
    for (const char* name : {"/events.jsonl", "/events.jsonl.1"}) {
        struct stat info {};
        ASSERT_EQ(stat((directory.path() + name).c_str(), &info), 0) << name;
        EXPECT_LE(info.st_size, 1000) << name;
    }
    EventLog log;
    ASSERT_TRUE(log.open(directory.path()).ok());
    EXPECT_EQ(log.last_seq(), 20u);
    EXPECT_GE(log.since(0, 100).size(), 5u);
}

TEST(EventLog, SaysWhenItsDirectoryIsMissing) {
    EventLog log;
    EXPECT_TRUE(log.open("/nonexistent").is_errno(ENOENT));
    add(log, "kept in memory all the same");
    EXPECT_EQ(log.last_seq(), 1u);
}

TEST(EventJson, IsOneObjectALine) {
    const Event event{7, {1'795'344'000, 0}, "db", "state", "alone", {{"from", "primary"}}};
    EXPECT_EQ(to_json(event),
              R"({"seq":7,"time":"2026-11-22T10:40:00.000Z","mirror":"db","kind":"state",)"
              R"("text":"alone","fields":{"from":"primary"}})");
    EXPECT_EQ(events_to_json({}, 7), R"({"events":[],"last":7})");
}

TEST(KeyFile, IsPrivateAndReadBack) {
    TemporaryDirectory directory;
    const std::string path = directory.path() + "/cluster.key";
    std::string sentence;
    ASSERT_TRUE(make_key_file(path, sentence).ok()) << sentence;
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    EXPECT_EQ(info.st_size, 20 + 64 + 1);
    Result<ClusterKey> key = load_key_file(path, sentence);
    ASSERT_TRUE(key.ok()) << sentence;

    const std::string other = directory.path() + "/other.key";
    ASSERT_TRUE(make_key_file(other, sentence).ok());
    EXPECT_NE(load_key_file(other, sentence).value(), key.value());

    EXPECT_TRUE(make_key_file(path, sentence).is_errno(EEXIST));
    EXPECT_EQ(sentence, "'" + path + "' exists already, and a key is never overwritten");
    EXPECT_EQ(load_key_file(path, sentence).value(), key.value());
}

TEST(KeyFile, RefusesAnOpenOrDamagedOne) {
    TemporaryDirectory directory;
    const std::string path = directory.path() + "/cluster.key";
    std::string sentence;
    ASSERT_TRUE(make_key_file(path, sentence).ok());
    ASSERT_EQ(chmod(path.c_str(), 0640), 0);
    EXPECT_EQ(load_key_file(path, sentence).status().code(), Code::refused);
    EXPECT_EQ(sentence,
              "the cluster key '" + path + "' may be read by others than its owner; chmod 600");
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
    std::string text;
    std::getline(std::ifstream(path), text, '\0');
    for (const std::string& damaged :
         {std::string(), text.substr(1), text + "\n", text.substr(0, 40) + "G" + text.substr(41)}) {
        std::ofstream(path, std::ios::trunc) << damaged;
        EXPECT_EQ(load_key_file(path, sentence).status().code(), Code::corrupt);
        EXPECT_EQ(sentence, "'" + path + "' is no cluster key; `gemel keygen` makes one");
    }
    EXPECT_TRUE(load_key_file("/nonexistent", sentence).status().is_errno(ENOENT));
}

}  // namespace
}  // namespace gemel
