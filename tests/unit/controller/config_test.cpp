// SPDX-License-Identifier: Apache-2.0
// Goal: every mistake in gemel.toml is told with its place and its cure, all of them at once, and
// what is right arrives as written. Method: one table of inputs and their exact messages.
#include "controller/config.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gemel {
namespace {

const std::string kHead =
    "[cluster]\n"
    "name = \"shop\"\n"
    "key = \"/etc/gemel/cluster.key\"\n"
    "[node.alpha]\n"
    "links = [\"10.0.0.1:7800\"]\n"
    "[node.beta]\n"
    "links = [\"10.0.0.2:7800\"]\n";
const std::string kMirror =  // begins on line 8
    "[mirror.db]\n"
    "nodes = [\"alpha\", \"beta\"]\n"
    "directories = [\"/srv/db\"]\n";

std::vector<std::string> messages(const std::string& text, const ConfigContext& context = {}) {
    ConfigContext without_files = context;
    without_files.check_files = false;
    std::vector<std::string> result;
    const ConfigResult parsed = parse_config(text, "g.toml", without_files);
    EXPECT_EQ(parsed.config.has_value(), parsed.errors.empty());
    for (const ConfigError& error : parsed.errors) result.push_back(error.to_string());
    return result;
}

struct Mistake {
    const char* name;
    std::string text;
    std::vector<std::string> expected;
};

void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

std::string mistake_name(const testing::TestParamInfo<Mistake>& tested) {
    return tested.param.name;
}

class ConfigMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistakes, AreToldWithPlaceAndCure) {
    EXPECT_EQ(messages(GetParam().text), GetParam().expected);
}

using Messages = std::vector<std::string>;

const Mistake kForm[] = {
    {"no_toml",
     "[cluster\nname = 1\n",
     {"g.toml:1:9: Error while parsing table header: expected ']', saw '\\n'"}},
    {"empty", "", {"g.toml: there is no [cluster]"}},
    {"unknown_key",
     kHead + "[mirror.db]\nnodes = [\"alpha\", \"beta\"]\ndirectorys = [\"/a\"]\n",
     {"g.toml:8:1: [mirror.db] lacks 'directories'",
      "g.toml:10:1: unknown key 'directorys' in [mirror.db]; did you mean 'directories'?"}},
    {"unknown_key_without_a_near_one",
     kHead + kMirror + "colour = \"red\"\n",
     {"g.toml:11:1: unknown key 'colour' in [mirror.db]"}},
    {"unknown_section",
     kHead + "[failovr]\ndetect = \"1s\"\n",
     {"g.toml:8:2: unknown key 'failovr'; did you mean 'failover'?"}},
    {"missing_keys",
     "[cluster]\n[node.a]\n[mirror.m]\n",
     {"g.toml:1:1: [cluster] lacks 'name'", "g.toml:1:1: [cluster] lacks 'key'",
      "g.toml:2:1: [node.a] lacks 'links'", "g.toml:3:1: [mirror.m] lacks 'nodes'",
      "g.toml:3:1: [mirror.m] lacks 'directories'"}},
    {"wrong_types",
     kHead + kMirror + "sync = 1\nexclude = \"*.tmp\"\nstart = [\"a\"]\n",
     {"g.toml:11:8: 'sync' in [mirror.db] has to be 'write', 'fsync' or 'async', not a number",
      "g.toml:12:11: 'exclude' in [mirror.db] has to be a list of texts, not a text",
      "g.toml:13:9: 'start' in [mirror.db] has to be a text, not a list"}},
    {"resync_rates",
     kHead + kMirror + "resync-rate = \"fast\"\n" + "[mirror.b]\nnodes = [\"alpha\", \"beta\"]\n" +
         "directories = [\"/b\"]\nresync-rate = \"2GiB..1GiB\"\n[mirror.c]\nnodes = [\"alpha\", "
         "\"beta\"]\ndirectories = [\"/c\"]\nresync-rate = \"1KiB..\"\n",
     {"g.toml:11:15: 'resync-rate' in [mirror.db] has to be a range of sizes a second like "
      "\"10MiB..1GiB\", \"20MiB..\" or \"..1GiB\", not 'fast'",
      "g.toml:15:15: 'resync-rate' in [mirror.b] has to have the lower rate first, not "
      "'2GiB..1GiB'",
      "g.toml:19:15: 'resync-rate' in [mirror.c] has to begin at 64KiB a second or more, so that "
      "a resync ends, not '1KiB..'"}},
    {"section_is_no_table",
     "cluster = 5\nnode = 6\nmirror.x = 7\n",
     {"g.toml:1:11: 'cluster' has to be a table, not a number",
      "g.toml:2:8: 'node' has to be a table with one table for each node, [node.NAME], not a "
      "number",
      "g.toml:3:8: 'x' in [mirror] has to be a table, [mirror.x]"}},
    {"item_of_wrong_type",
     kHead + "[mirror.db]\nnodes = [\"alpha\", 2]\ndirectories = [\"/a\"]\n",
     {"g.toml:9:9: 'nodes' in [mirror.db] has to name exactly two nodes, not 1",
      "g.toml:9:19: 'nodes' in [mirror.db] has to be a list of texts, not of a number"}},
    {"empty_texts",
     "[cluster]\nname = \"\"\nkey = \"relative.key\"\n",
     {"g.toml:2:8: 'name' in [cluster] is empty",
      "g.toml:3:7: 'key' in [cluster] has to be an absolute path"}},
    {"bad_names",
     kHead + "[mirror.\"a/b\"]\nnodes=[\"alpha\",\"beta\"]\ndirectories=[\"/a\"]\n",
     {"g.toml:8:9: 'a/b' is no name for a mirror: at most 63 letters, digits, '.', '_' and '-', "
      "beginning with a letter, a digit or '_'"}},
};
INSTANTIATE_TEST_SUITE_P(Form, ConfigMistakes, testing::ValuesIn(kForm), mistake_name);

const Mistake kValues[] = {
    {"times",
     kHead + "[failover]\nheartbeat = \"5ms\"\ndetect = \"1 hour\"\n",
     {"g.toml:9:13: 'heartbeat' in [failover] has to lie between 10ms and 10s",
      "g.toml:10:10: 'detect' in [failover] has to be a time like \"500ms\", \"10s\" or \"2min\", "
      "not '1 hour'"}},
    {"time_is_a_number",
     kHead + "[failover]\ndetect = 3\n",
     {"g.toml:9:10: 'detect' in [failover] has to be a time like \"500ms\", \"10s\" or \"2min\", "
      "not a number"}},
    {"detect_below_three_heartbeats",
     kHead + "[failover]\nheartbeat = \"100ms\"\ndetect=\"200ms\"\n",
     {"g.toml:10:8: 'detect' (200ms) has to be at least three times 'heartbeat' (100ms)"}},
    {"heartbeat_above_the_default_detect",
     kHead + "[failover]\nheartbeat = \"500ms\"\n",
     {"g.toml:9:13: 'detect' (1s) has to be at least three times 'heartbeat' (500ms)"}},
    {"link_is_a_name",
     kHead + "[node.gamma]\nlinks = [\"gamma.example:7800\", \"10.0.0.3\"]\n",
     {"g.toml:9:10: 'gamma.example:7800' is no numeric address with a port, like "
      "\"10.0.0.1:7800\" or \"[fd00::1]:7800\"",
      "g.toml:9:32: '10.0.0.3' is no numeric address with a port, like \"10.0.0.1:7800\" or "
      "\"[fd00::1]:7800\""}},
    {"no_links",
     kHead + "[node.gamma]\nlinks = []\n",
     {"g.toml:9:9: 'links' in [node.gamma] has to name at least one address"}},
    {"link_used_twice",
     kHead + "[node.gamma]\nlinks = [\"10.0.0.1:7800\"]\n",
     {"g.toml:9:9: 10.0.0.1:7800 is a link of node 'alpha' already"}},
    {"arbiter_kind",
     kHead + "[arbiter]\nkind = \"witnes\"\n",
     {"g.toml:9:8: 'kind' in [arbiter] has to be 'none', 'witness', 'etcd' or 'ping', not "
      "'witnes'; did you mean 'witness'?"}},
    {"witness_without_address",
     kHead + "[arbiter]\nkind = \"witness\"\n",
     {"g.toml:8:1: [arbiter] lacks 'address'"}},
    {"ping_without_address",
     kHead + "[arbiter]\nkind = \"ping\"\n",
     {"g.toml:8:1: [arbiter] lacks 'address'"}},
    {"ping_with_a_port",
     kHead + "[arbiter]\nkind = \"ping\"\naddress = [\"10.0.0.254:80\", \"fd00::fe\"]\n",
     {"g.toml:10:12: 'address' in [arbiter] has to be a numeric address, like \"10.0.0.254\" or "
      "\"fd00::fe\", not '10.0.0.254:80'"}},
    {"ping_of_a_node",
     kHead + "[arbiter]\nkind = \"ping\"\naddress = \"10.0.0.1\"\n",
     {"g.toml:10:11: 'address' in [arbiter] names an address of node 'alpha': it has to be a third "
      "machine's, like that of the gateway"}},
    {"etcd_without_address",
     kHead + "[arbiter]\nkind = \"etcd\"\n",
     {"g.toml:8:1: [arbiter] lacks 'address'"}},
    {"etcd_addresses",
     kHead + "[arbiter]\nkind = \"etcd\"\naddress = [\"10.0.0.9:2379\", \"etcd:2379\",\n"
             "  \"10.0.0.9:2379\", 7]\n",
     {"g.toml:10:29: 'address' in [arbiter] has to be a numeric address with a port, like "
      "\"10.0.0.1:7800\" or \"[fd00::1]:7800\", not 'etcd:2379'",
      "g.toml:11:3: 'address' in [arbiter] names '10.0.0.9:2379' twice",
      "g.toml:11:20: 'address' in [arbiter] has to be a list of texts, not of a number"}},
    {"etcd_no_addresses",
     kHead + "[arbiter]\nkind = \"etcd\"\naddress = []\n",
     {"g.toml:10:11: 'address' in [arbiter] is empty"}},
    {"etcd_key_without_certificate",
     kHead + "[arbiter]\nkind = \"etcd\"\naddress = \"10.0.0.9:2379\"\nca = \"ca.pem\"\n"
             "private-key = \"/key.pem\"\n",
     {"g.toml:8:1: [arbiter] lacks 'certificate'",
      "g.toml:11:6: 'ca' in [arbiter] has to be an absolute path"}},
    {"witness_with_a_list",
     kHead + "[arbiter]\nkind = \"witness\"\naddress = [\"10.0.0.9:7801\"]\n",
     {"g.toml:10:11: 'address' in [arbiter] has to be a text, not a list"}},
    {"witness_with_ca",
     kHead + "[arbiter]\nkind = \"witness\"\naddress = \"10.0.0.9:7801\"\nca = \"/ca.pem\"\n",
     {"g.toml:11:6: 'ca' in [arbiter] is for an arbiter of kind 'etcd'"}},
    {"sync_not_served",
     kHead + kMirror + "sync = \"async\"\n",
     {"g.toml:11:8: sync = \"async\" is not served by this version; use \"write\""}},
    {"sync_misspelt",
     kHead + kMirror + "sync = \"wirte\"\n",
     {"g.toml:11:8: 'sync' in [mirror.db] has to be 'write', 'fsync' or 'async', not 'wirte'; did "
      "you mean 'write'?"}},
    {"verify_misspelt",
     kHead + kMirror + "verify = \"wekly\"\n",
     {"g.toml:11:10: 'verify' in [mirror.db] has to be 'daily', 'weekly', 'monthly', 'off' or a "
      "time "
      "like \"12h\" or \"3d\", not 'wekly'; did you mean 'weekly'?"}},
    {"excludes",
     kHead + kMirror +
         "exclude = [\"*.tmp\", \"../x\", \"/\", \"a//b\", \"a[b\", \"**\", \"!a\"]\n",
     {"g.toml:11:21: the pattern '../x' has a '.' or '..' in its path",
      "g.toml:11:29: the pattern '/' would exclude the volume's root",
      "g.toml:11:34: the pattern 'a//b' has two slashes in a row",
      "g.toml:11:42: the pattern 'a[b' has a '[' without its ']'",
      "g.toml:11:49: the pattern '**' would exclude everything",
      "g.toml:11:55: the pattern '!a' would take something back in, which a list of exclusions "
      "cannot; write '\\!' for a name that begins with '!'"}},
    {"virtual_ip",
     kHead + kMirror + "virtual-ip = [\"10.0.0.50\", \"10.0.0.2/24\"]\n",
     {"g.toml:11:15: '10.0.0.50' is no address with a prefix length, like \"10.0.0.50/24\", "
      "\"fd00::50/64\" or \"10.0.0.50/24@eth0\"",
      "g.toml:11:28: '10.0.0.2/24' is an address of node 'beta' already"}},
    {"block_volumes",
     kHead + "[mirror.vm]\nnodes = [\"alpha\", \"beta\"]\n[[mirror.vm.block]]\nname = \"d\"\n"
             "backing = \"/x\"\nsize = \"20GB\"\n",
     {"g.toml:13:8: 'size' in [mirror.vm.block] has to be a size like \"64KiB\", \"500MiB\" or "
      "\"20GiB\", not '20GB'"}},
    {"block_volume_of_an_odd_size",
     kHead + "[mirror.vm]\nnodes = [\"alpha\", \"beta\"]\n[[mirror.vm.block]]\nname = \"d\"\n"
             "backing = \"/x\"\nsize = \"6KiB\"\n",
     {"g.toml:13:8: 'size' in [mirror.vm.block] has to be a multiple of 4KiB, and at most "
      "1024TiB"}},
    {"block_volume_on_a_device_of_an_odd_size",
     kHead + "[mirror.vm]\nnodes = [\"alpha\", \"beta\"]\n[[mirror.vm.block]]\nname = \"d\"\n"
             "backing = \"/dev/sdb1\"\nsize = \"4.2KiB\"\n",
     {"g.toml:13:8: 'size' in [mirror.vm.block] has to be a multiple of 512 bytes, and at most "
      "1024TiB"}},
    {"fsync_beside_directories",
     kHead + kMirror + "sync = \"fsync\"\n",
     {"g.toml:11:8: sync = \"fsync\" is served for mirrors without directories only; use "
      "\"write\", or make two mirrors of it"}},
    {"listen_without_a_port",
     kHead + "[mirror.vm]\nnodes = [\"alpha\", \"beta\"]\nlisten = \"10.0.0.50\"\n"
             "[[mirror.vm.block]]\nname = \"d\"\nbacking = \"/x\"\nsize = \"4KiB\"\n",
     {"g.toml:10:10: 'listen' in [mirror.vm] has to be a numeric address with a port, like "
      "\"10.0.0.50:10809\" or \"[::]:10809\", not '10.0.0.50'"}},
    {"listen_without_a_block_volume",
     kHead + kMirror + "listen = \"0.0.0.0:10809\"\n",
     {"g.toml:11:10: 'listen' in [mirror.db] is for block volumes, and mirror 'db' has none"}},
    {"listen_where_somebody_listens",
     kHead + "[mirror.vm]\nnodes = [\"alpha\", \"beta\"]\nlisten = \"10.0.0.1:7800\"\n"
             "[[mirror.vm.block]]\nname = \"d\"\nbacking = \"/x\"\nsize = \"4KiB\"\n",
     {"g.toml:10:10: '10.0.0.1:7800' is a link of node 'alpha' already"}},
    {"block_volumes_in_each_others_way",
     kHead + kMirror +
         "[[mirror.db.block]]\nname = \"d\"\nbacking = \"/srv/db/x\"\nsize = \"4KiB\"\n"
         "[[mirror.db.block]]\nname = \"d\"\nbacking = \"/srv/y\"\nsize = \"4KiB\"\n"
         "[mirror.vm]\nnodes = [\"beta\", \"alpha\"]\n"
         "[[mirror.vm.block]]\nname = \"d\"\nbacking = \"/srv/y\"\nsize = \"4KiB\"\n"
         "[[mirror.vm.block]]\nname = \"e\"\nbacking = \"srv/z\"\nsize = \"4KiB\"\n",
     {"g.toml:11:1: '/srv/db/x' lies inside '/srv/db', a directory of mirror 'db'",
      "g.toml:15:1: mirror 'db' has two block volumes 'd'",
      "g.toml:21:1: '/srv/y' is the backing of 'd' of mirror 'db' already",
      "g.toml:25:1: 'srv/z' is not an absolute path"}},
    {"checks",
     kHead + kMirror +
         "[[mirror.db.check]]\ntcp = \"127.0.0.1:5432\"\nhttp = \"x\"\n"
         "on-failure = \"restrat\"\n",
     {"g.toml:11:1: [mirror.db.check] has to have exactly one of 'tcp', 'http', 'process', "
      "'ping', 'command' and 'interface'",
      "g.toml:11:1: checks on the application are not served by this version",
      "g.toml:14:14: 'on-failure' in [mirror.db.check] has to be 'restart' or 'failover', not "
      "'restrat'; did you mean 'restart'?"}},
};
INSTANTIATE_TEST_SUITE_P(Values, ConfigMistakes, testing::ValuesIn(kValues), mistake_name);

const Mistake kWhole[] = {
    {"unknown_node",
     kHead + "[mirror.db]\nnodes = [\"alpha\", \"bta\"]\ndirectories = [\"/a\"]\n",
     {"g.toml:9:19: there is no [node.bta], the node that mirror 'db' names; did you mean "
      "'beta'?"}},
    {"one_node_twice",
     kHead + "[mirror.db]\nnodes=[\"alpha\",\"alpha\"]\ndirectories = [\"/a\"]\n",
     {"g.toml:9:16: mirror 'db' names the node 'alpha' twice"}},
    {"three_nodes",
     kHead + "[mirror.db]\nnodes=[\"alpha\",\"beta\",\"c\"]\ndirectories=[\"/a\"]\n",
     {"g.toml:9:7: 'nodes' in [mirror.db] has to name exactly two nodes, not 3"}},
    {"directory_forms",
     kHead + "[mirror.db]\nnodes = [\"alpha\", \"beta\"]\n"
             "directories = [\"srv\", \"/\", \"/a/../b\", \"/c//d\"]\n",
     {"g.toml:10:16: 'srv' is not an absolute path", "g.toml:10:23: '/' cannot be mirrored",
      "g.toml:10:28: '/a/../b' has a '..' in it", "g.toml:10:39: '/c//d' has a '//' in it"}},
    {"nested_in_one_mirror",
     kHead + "[mirror.db]\nnodes = [\"alpha\", \"beta\"]\n"
             "directories = [\"/a\", \"/a/b\", \"/a/\", \"/ab\"]\n",
     {"g.toml:10:22: '/a/b' lies inside '/a'", "g.toml:10:30: '/a' is named twice"}},
    {"nested_in_two_mirrors",
     kHead + kMirror + "[mirror.log]\nnodes = [\"beta\", \"alpha\"]\ndirectories = [\"/srv\"]\n",
     {"g.toml:13:16: '/srv' contains '/srv/db' of mirror 'db'"}},
    {"virtual_ip_of_two_mirrors",
     kHead + kMirror +
         "virtual-ip=[\"10.0.0.50/24\"]\n[mirror.log]\nnodes = [\"beta\", \"alpha\"]\n"
         "directories = [\"/log\"]\nvirtual-ip=[\"10.0.0.50/16\"]\n",
     {"g.toml:15:13: '10.0.0.50/16' is a virtual address of mirror 'db' already"}},
};
INSTANTIATE_TEST_SUITE_P(Whole, ConfigMistakes, testing::ValuesIn(kWhole), mistake_name);

TEST(Config, RefusesDirectoriesOfTheDaemonInsideMirroredOnes) {
    ConfigContext context;
    context.state_directory = "/srv/db/state";
    context.run_directory = "/srv";
    EXPECT_EQ(messages(kHead + kMirror, context),
              (Messages{"g.toml:10:16: '/srv/db' contains the state directory '/srv/db/state'",
                        "g.toml:10:16: '/srv/db' lies inside the run directory '/srv'"}));
}

TEST(Config, RefusesAMirroredDirectoryThatHoldsTheKey) {
    std::string text = kHead + kMirror;
    text.replace(text.find("/etc/gemel"), 10, "/srv/db/ke");
    EXPECT_EQ(messages(text), (Messages{"g.toml:10:16: '/srv/db' contains the cluster key "
                                        "'/srv/db/ke/cluster.key'"}));
}

TEST(Config, SaysWhichKeyFileIsMissing) {
    std::string text = kHead;
    text.replace(text.find("/etc/gemel"), 10, "/nonexistent");
    const ConfigResult result = parse_config(text, "g.toml", {});
    ASSERT_EQ(result.errors.size(), 1u);
    EXPECT_EQ(result.errors[0].to_string(),
              "g.toml:3:7: there is no cluster key '/nonexistent/cluster.key'; `gemel keygen "
              "/nonexistent/cluster.key` makes one");
}

TEST(Config, SaysThatAFileCannotBeRead) {
    const ConfigResult result = load_config("/nonexistent/g.toml", {});
    ASSERT_EQ(result.errors.size(), 1u);
    EXPECT_EQ(result.errors[0].to_string(),
              "/nonexistent/g.toml: cannot be read: No such file or directory");
}

TEST(Config, ArrivesAsWritten) {
    const std::string text =
        "cluster = {name = \"shop\", key = \"/k\"}\n"
        "node = {alpha = {links = [\"10.0.0.1:7800\", \"[fd00::1]:7800\"]}, "
        "beta = {links = [\"10.0.0.2:7800\"]}}\n"
        "failover = {heartbeat = \"50ms\", detect = \"0.5s\"}\n"
        "arbiter = {kind = \"witness\", address = \"10.0.0.9:7801\"}\n"
        "[mirror.zz]\n"
        "nodes = [\"beta\", \"alpha\"]\n"
        "directories = [\"/srv/db/\", \"/srv/dc\"]\n"
        "exclude = [\"*.tmp\", \"pgsql_tmp/\", \"/a/b*\"]\n"
        "sync = \"write\"\n"
        "sync-interval = \"250ms\"\n"
        "resync-rate = \"20MiB .. 1.5GiB\"\n"
        "virtual-ip = [\"10.0.0.50/24@eth0\", \"fd00::50/64\"]\n"
        "start = \"systemctl start x\"\n"
        "stop = \"systemctl stop x\"\n"
        "start-timeout = \"2min\"\n"
        "stop-timeout = \"90s\"\n"
        "[mirror.aa]\n"
        "nodes = [\"alpha\", \"beta\"]\n"
        "directories = [\"/aa\"]\n";
    ConfigContext context;
    context.check_files = false;
    const ConfigResult result = parse_config(text, "g.toml", context);
    ASSERT_TRUE(result.config.has_value()) << result.errors[0].to_string();
    const Config& config = *result.config;
    EXPECT_EQ(config.cluster, "shop");
    EXPECT_EQ(config.key_file, "/k");
    ASSERT_EQ(config.nodes.size(), 2u);
    EXPECT_EQ(config.nodes[0].links[1].to_string(), "[fd00::1]:7800");
    EXPECT_EQ(config.failover.heartbeat, Duration::milliseconds(50));
    EXPECT_EQ(config.failover.detect, Duration::milliseconds(500));
    EXPECT_EQ(config.arbiter.kind, ArbiterKind::witness);
    EXPECT_EQ(config.arbiter.address.to_string(), "10.0.0.9:7801");
    ASSERT_EQ(config.mirrors.size(), 2u);
    EXPECT_EQ(config.mirrors[1].name, "aa");
    const MirrorConfig& mirror = config.mirrors[0];
    EXPECT_EQ(mirror.name, "zz");
    EXPECT_EQ(mirror.peer_of("beta"), "alpha");
    EXPECT_EQ(mirror.directories, (Messages{"/srv/db", "/srv/dc"}));
    EXPECT_EQ(mirror.exclude, (Messages{"*.tmp", "pgsql_tmp/", "/a/b*"}));
    EXPECT_EQ(mirror.sync_interval, Duration::milliseconds(250));
    EXPECT_EQ(mirror.resync_rate, (ResyncRateRange{20 * kMiB, 3 * kGiB / 2}));
    EXPECT_EQ(config.mirrors[1].resync_rate, ResyncRateRange());
    ASSERT_EQ(mirror.virtual_ips.size(), 2u);
    EXPECT_EQ(mirror.virtual_ips[0].to_string(), "10.0.0.50/24@eth0");
    EXPECT_EQ(mirror.stop, "systemctl stop x");
    EXPECT_EQ(mirror.start_timeout, Duration::seconds(120));
    EXPECT_EQ(mirror.stop_timeout, Duration::seconds(90));
    EXPECT_EQ(config.find_mirror("nobody"), nullptr);
}

TEST(Config, EtcdHasOneAddressOrSeveral) {
    const std::string head = "cluster = {name = \"s\", key = \"/k\"}\n[arbiter]\nkind = \"etcd\"\n";
    ConfigContext context;
    context.check_files = false;
    const auto one =
        parse_config(head + "address = \"10.0.0.9:2379\"\nca = \"/c\"\n", "g.toml", context);
    ASSERT_TRUE(one.config.has_value()) << one.errors[0].to_string();
    ASSERT_EQ(one.config->arbiter.members.size(), 1u);
    EXPECT_EQ(one.config->arbiter.ca, "/c");
    const auto two = parse_config(head + "address = [\"10.0.0.9:2379\", \"[fd00::9]:2379\"]\n",
                                  "g.toml", context);
    ASSERT_TRUE(two.config.has_value()) << two.errors[0].to_string();
    ASSERT_EQ(two.config->arbiter.members.size(), 2u);
    EXPECT_EQ(two.config->arbiter.members[1].to_string(), "[fd00::9]:2379");
}

TEST(Config, LooksForTheFilesOfTls) {
    const ConfigResult result = parse_config(
        "cluster = {name = \"s\", key = \"/etc/passwd\"}\n[arbiter]\nkind = \"etcd\"\n"
        "address = \"10.0.0.9:2379\"\nca = \"/no/such/ca.pem\"\n",
        "g.toml", {});
    ASSERT_EQ(result.errors.size(), 1u);
    EXPECT_EQ(result.errors[0].to_string(),
              "g.toml:5:6: '/no/such/ca.pem' cannot be read: No such file or directory");
}

TEST(Config, AllowsAWitnessWithoutMirrors) {
    EXPECT_EQ(messages("[cluster]\nname = \"w\"\nkey = \"/k\"\n[arbiter]\nkind = \"witness\"\n"
                       "address = \"10.0.0.9:7801\"\n"),
              Messages{});
}

}  // namespace
}  // namespace gemel
