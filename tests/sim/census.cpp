// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/census.hpp"

#include "engine/io/sim/fabric.hpp"
#include "tests/sim/node_program.hpp"

#include <utility>

namespace gemel::sim {

namespace {

// The clients' own directories may be of one epoch or of several, each of which has a file in the
// index, of one page at least.
constexpr std::uint64_t kIndexFilesMore = 3;
// A secondary may keep a mark that the serving node has not, until more is written.
constexpr std::uint64_t kIntentsMore = 3;

}  // namespace

Census::Census(Cluster& cluster) {
    GEMEL_ASSERT(cluster.is_in_sync());
    for (std::size_t machine = 0; machine < cluster.machines.size(); ++machine) {
        add_process(cluster, machine);
    }
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) add_tables(cluster, node);
    add("connections", cluster.world.fabric().connection_count());
    add("sockets", cluster.world.fabric().socket_count());
    // A heartbeat may be on its way, a turn about to end.
    add("events of the world", cluster.world.waiting_events(), 8);
}

void Census::add(std::string what, std::uint64_t value, std::uint64_t slack) {
    counts_.push_back({std::move(what), value, slack});
}

void Census::add_process(Cluster& cluster, std::size_t machine) {
    Node& node = *cluster.machines[machine];
    const std::string of = " of " + node.name();
    add("descriptors" + of, node.loop().vfs().open_count(), kIndexFilesMore);
    add("timers" + of, node.loop().running_timers());
    add("unfinished tasks" + of, node.loop().unfinished());
    add_disk("the state directory" + of, *node.find(ClusterNames::kState).file_system);
    if (machine != Cluster::kWitness) {
        add_disk("the volume" + of, *node.find(ClusterNames::kData).file_system);
    }
}

void Census::add_tables(Cluster& cluster, std::size_t node) {
    const NodeProgram& program = *cluster.program(node);
    const std::string of = " of " + cluster.machines[node]->name();
    add("live intents" + of, program.replica().intents().live_count(), kIntentsMore);
    add("dirty objects" + of, program.replica().dirty_map(0).object_count());
    add("unacknowledged ops" + of, program.replica().counters().unacknowledged_ops);
}

void Census::add_disk(const std::string& what, FileSystem& disk) {
    const FileSystemStat stat = disk.stat_file_system();
    add("pages in " + what, stat.blocks - stat.blocks_free, 2 * kIndexFilesMore);
    add("files in " + what, disk.inode_count(), kIndexFilesMore);
}

std::vector<std::string> Census::grown_since(const Census& before) const {
    GEMEL_ASSERT(counts_.size() == before.counts_.size());
    std::vector<std::string> grown;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        const Count& now = counts_[i];
        const Count& then = before.counts_[i];
        GEMEL_ASSERT(now.what == then.what);
        if (now.value <= then.value + now.slack) continue;
        grown.push_back(now.what + ": " + std::to_string(then.value) + " at first, now " +
                        std::to_string(now.value));
    }
    return grown;
}

std::string Census::to_string() const {
    std::string text;
    for (const Count& count : counts_) {
        text += count.what + ": " + std::to_string(count.value) + '\n';
    }
    return text;
}

}  // namespace gemel::sim
