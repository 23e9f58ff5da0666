// SPDX-License-Identifier: Apache-2.0
// Goal: what a node says arrives on the other side of the socket, under the keys that users were
// promised, and is shown to a person as these texts.
#include "controller/status_json.hpp"
#include "controller/status_text.hpp"
#include "tests/unit/controller/fake_daemon.hpp"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr WallTime kNow{1'795'347'605, 0};

TEST(StatusJson, KeepsTheKeysOfTheContract) {
    NodeStatus status = invented_status();
    status.mirrors.erase(status.mirrors.begin());
    status.mirrors[0].exclude = {"*.tmp", "cache/"};
    status.mirrors[0].tracking = "seen by raw tracepoints";
    status.mirrors[0].resync_pace = {10 * kMiB, std::nullopt, true};
    EXPECT_EQ(to_json(status),
              R"({"cluster":"shop","node":"alpha","version":"0.1.0","mirrors":[)"
              R"({"name":"vm1","state":"alone","since":"2026-11-22T11:40:00.000Z",)"
              R"("reason":"beta was silent on every link for 1s","epoch":12,)"
              R"("in_sync":["alpha"],"peer":{"node":"beta","state":"resync","connected":true,)"
              R"("links":[{"address":"10.0.0.2:7800","up":true,"rtt_us":190}]},)"
              R"("volumes":[{"kind":"directory","name":"0","path":"/srv/vm1","sync":"write",)"
              R"("dirty_bytes":1288490188,"dirty_objects":532,"resync":{"done_bytes":1288490188,)"
              R"("total_bytes":2469606195,"rate_bytes_per_s":115343360,"eta_s":10}}],)"
              R"("exclude":["*.tmp","cache/"],"tracking":"seen by raw tracepoints",)"
              R"("resync_pace":{"min_bytes_per_s":10485760,"max_bytes_per_s":null,"paused":true},)"
              R"("before_resync":null,)"
              R"("application":{"state":"none","since":"1970-01-01T00:00:00.000Z"},)"
              R"("virtual_ip":[],)"
              R"("verify":{"run":0,"period_s":0,"running":null,"last":null}}]})");
}

TEST(VerifyJson, ArrivesAsItLeftAndIsShown) {
    NodeStatus status = invented_status();
    VerifyStatus& verify = status.mirrors[0].verify;
    verify.run = 3;
    verify.period_s = 604'800;
    verify.running = VerifyRunning{{100, 0}, false, kGiB, 4 * kGiB, kMiB, 3072, 12, 1};
    verify.last =
        VerifyResult{{10, 0}, {20, 0}, VerifyOutcome::mended, "", true, 1'000, 2 * kGiB, 2, 2};
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(to_json(*parsed), to_json(status));
    const std::string text = status_text(status, {false, {3620, 0}});
    EXPECT_NE(text.find("db: verify [######..................]  25 %  1.0 GiB of 4.0 GiB, "
                        "1.0 MiB/s, 51 min 12 s left, 12 objects, 1 not the same\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("db: last verify 1 h ago: 2 objects not the same, all mended; 1000 objects "
                        "and 2.0 GiB compared\n"),
              std::string::npos)
        << text;
    const std::vector<VerifyFinding> findings{
        {"/srv", "/srv/a", {{"mode", "0644", "0600"}}, {{0, 4096}, {8192, 8200}}, {{0, 1}}},
        {"/srv", "/srv/b", {{"missing", "", ""}}, {}, {}},
        {"/srv", "/srv/c", {{"superfluous", "", ""}}, {}, {}}};
    const std::optional<VerifyFindings> report = parse_verify_report(to_json(verify, findings));
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(to_json(report->status, report->findings), to_json(verify, findings));
    VerifyResult result = *verify.last;
    result.outcome = VerifyOutcome::differences;
    result.differing = 5;
    EXPECT_EQ(verify_text(result, report->findings, "alpha", "beta"),
              "/srv/a: mode: 0644 on alpha, 0600 on beta; content at 0..4096, 8192..8200; "
              "holes at 0..1\n"
              "/srv/b: missing on beta\n"
              "/srv/c: only on beta\n"
              "and 2 objects more\n"
              "5 objects not the same, 1000 objects and 2.0 GiB compared\n");
}

TEST(StatusJson, ArrivesAsItLeft) {
    const NodeStatus status = invented_status();
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(to_json(*parsed), to_json(status));
}

TEST(StatusJson, TellsWhyThereIsNoSession) {
    NodeStatus status = invented_status();
    status.mirrors[0].peer.trouble = "refused: \"another key\"";
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->mirrors[0].peer.trouble, status.mirrors[0].peer.trouble);
    EXPECT_EQ(parsed->mirrors[1].peer.trouble, "");
}

TEST(StatusJson, RefusesWhatLacksAKeyAndToleratesMore) {
    const std::string json = to_json(invented_status());
    for (const char* key : {"\"cluster\"", "\"epoch\"", "\"links\"", "\"held\"", "\"rtt_us\""}) {
        std::string without = json;
        without.replace(without.find(key), 2, "\"_");
        EXPECT_FALSE(parse_node_status(without).has_value()) << key;
    }
    EXPECT_FALSE(parse_node_status("").has_value());
    EXPECT_FALSE(parse_node_status("[]").has_value());
    std::string more = json;
    more.insert(1, "\"new\":{},");
    EXPECT_TRUE(parse_node_status(more).has_value());
}

TEST(StatusJson, CarriesPathsThatAreNoUtf8) {
    NodeStatus status = invented_status();
    status.mirrors[0].volumes[0].path = "/srv/\xff\"\n";
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->mirrors[0].volumes[0].path, "/srv/\xef\xbf\xbd\"\n");
}

TEST(WallTimeText, IsReadAndWritten) {
    const WallTime time{1'795'344'000, 125'000'000};
    EXPECT_EQ(format_wall_time(time), "2026-11-22T10:40:00.125Z");
    EXPECT_EQ(parse_wall_time("2026-11-22T10:40:00.125Z"), time);
    for (const char* text : {"", "2026-11-22", "2026-11-22T10:40:00Z", "2026-11-22T10:40:00.1Z",
                             "2026-11-22T10:40:00.125", "2026-11-22T10:40:00.125Zx"}) {
        EXPECT_FALSE(parse_wall_time(text).has_value()) << text;
    }
}

TEST(StatusText, IsOneTableAndNotesBelow) {
    EXPECT_EQ(status_text(invented_status(), {false, kNow}),
              "cluster shop, node alpha, gemeld 0.1.0\n"
              "\n"
              "MIRROR  STATE    SINCE  PEER            LINKS   IN SYNC      PEER LACKS"
              "              APPLICATION\n"
              "db      primary  1 h    beta secondary  1/2 up  alpha, beta  -"
              "                       running\n"
              "vm1     alone    5 s    beta resync     1/1 up  alpha        1.2 GiB in 532 "
              "objects  -\n"
              "\n"
              "db: link 192.168.7.2:7800 is down\n"
              "db: holds 10.0.0.50/24\n"
              "vm1: alone: beta was silent on every link for 1s\n"
              "vm1: resync /srv/vm1 [############............]  52 %  1.2 GiB of 2.3 GiB, "
              "110.0 MiB/s, 10 s left\n");
}

TEST(StatusText, ShowsThatAResyncIsPaused) {
    NodeStatus status = invented_status();
    status.mirrors[1].resync_pace.paused = true;
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    const std::string text = status_text(*parsed, {false, kNow});
    EXPECT_NE(text.find("52 %  1.2 GiB of 2.3 GiB, paused\n"
                        "vm1: resync is paused: 'gemel resync vm1 --resume' lets it go on\n"),
              std::string::npos)
        << text;
}

TEST(StatusText, TellsWhatIsNotMirrored) {
    NodeStatus status = invented_status();
    status.mirrors[0].exclude = {"*.tmp", "cache/\n"};
    const std::optional<NodeStatus> parsed = parse_node_status(to_json(status));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_NE(status_text(*parsed, {false, kNow})
                  .find("db: kept per node, not mirrored: *.tmp, cache/?\n"),
              std::string::npos);
    EXPECT_EQ(status_text(invented_status(), {false, kNow}).find("kept per node"),
              std::string::npos);
}

TEST(StatusText, TellsByWhatForeignChangesAreSeen) {
    NodeStatus status = invented_status();
    status.mirrors[0].tracking = "not seen: /srv/db\nis on tmpfs";
    EXPECT_NE(status_text(status, {false, kNow})
                  .find("db: changes made without the mirror: not seen: /srv/db?is on tmpfs\n"),
              std::string::npos);
}

TEST(StatusText, SaysThatThereIsNothing) {
    EXPECT_EQ(status_text({"shop", "alpha", "0.1.0", {}}, {false, kNow}),
              "cluster shop, node alpha, gemeld 0.1.0\nno mirrors on this node\n");
}

TEST(StatusText, PaintsOnlyWhenAskedAndAlignsAllTheSame) {
    const std::string plain = status_text(invented_status(), {false, kNow});
    std::string painted = status_text(invented_status(), {true, kNow});
    EXPECT_EQ(plain.find('\x1b'), std::string::npos);
    EXPECT_NE(painted.find("\x1b[32mprimary\x1b[0m"), std::string::npos);
    for (std::size_t at; (at = painted.find('\x1b')) != std::string::npos;) {
        painted.erase(at, painted.find('m', at) - at + 1);
    }
    EXPECT_EQ(painted, plain);
}

TEST(StatusText, ShowsNoControlCharactersOfOthers) {
    NodeStatus status = invented_status();
    status.mirrors[1].reason = "\x1b[2Jgone\n";
    const std::string text = status_text(status, {false, kNow});
    EXPECT_NE(text.find("vm1: alone: ?[2Jgone?\n"), std::string::npos) << text;
}

TEST(StatusText, ShowsAPeerThatIsGone) {
    NodeStatus status = invented_status();
    status.mirrors[0].peer.connected = false;
    status.mirrors[0].since = {};
    status.mirrors[0].peer.trouble = "10.0.0.2:7800: another key";
    const std::string text = status_text(status, {false, kNow});
    EXPECT_NE(text.find("db: no session with beta: 10.0.0.2:7800: another key\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("primary  -      beta not connected"), std::string::npos) << text;
}

TEST(ProgressBar, IsFullOnlyWhenAllIsDone) {
    EXPECT_EQ(progress_bar(0, 0, 4), "[....]");
    EXPECT_EQ(progress_bar(0, 10, 4), "[....]");
    EXPECT_EQ(progress_bar(5, 10, 4), "[##..]");
    EXPECT_EQ(progress_bar(9999, 10000, 4), "[###.]");
    EXPECT_EQ(progress_bar(10, 10, 4), "[####]");
    EXPECT_EQ(progress_bar(11, 10, 4), "[####]");
}

TEST(PromoteWarning, SaysWhatMayBeLost) {
    MirrorStatus mirror = invented_status().mirrors[0];
    EXPECT_NE(promote_warning("alpha", mirror).find("alpha is recorded as in sync"),
              std::string::npos);
    EXPECT_NE(promote_warning("gamma", mirror).find("writes that beta acknowledged are missing"),
              std::string::npos);
}

}  // namespace
}  // namespace gemel
