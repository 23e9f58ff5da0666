// SPDX-License-Identifier: Apache-2.0
// What a power cut may leave and what it may not: the fault contract of the disk (durability.hpp).
// Every outcome that the contract allows must occur over many seeds, no other may.
#include "tests/unit/sim_world/scenario.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fcntl.h>
#include <linux/fs.h>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace gemel::sim {
namespace {

constexpr std::uint64_t kSeeds = 400;

// One machine whose process does something, then loses its power; `after` sees what is left.
struct Machine {
    explicit Machine(std::uint64_t seed) : world(seed, 0), node(add_plain_node(world, 0)) {
        start();
    }
    void start() {
        vfs = &node.start().vfs();
        root = vfs->open_directory("/").value();
    }
    void power_cycle() {
        node.power_cut();
        start();
    }
    Fd open(std::string_view name, int flags = O_RDWR | O_CREAT) {
        auto opened = vfs->open_at(root, name, flags, 0644);
        EXPECT_TRUE(opened.ok()) << name << ": " << opened.status().to_string();
        return opened.value();
    }
    void write(std::string_view name, std::string_view text) {
        const Fd file = open(name);
        EXPECT_TRUE(vfs->pwrite(file, as_bytes(text), 0).ok());
        vfs->close(file);
    }
    void sync(std::string_view name) {
        const Fd file = open(name, O_RDONLY);
        EXPECT_TRUE(vfs->sync(file, false).ok());
        vfs->close(file);
    }
    void sync_everything() { EXPECT_TRUE(vfs->sync_file_system(root).ok()); }
    // "-" when there is no such name.
    std::string read(std::string_view name) {
        auto opened = vfs->open_at(root, name, O_RDONLY, 0);
        if (!opened.ok()) return "-";
        std::string text(vfs->stat(opened.value())->size, '\0');
        EXPECT_TRUE(vfs->pread(opened.value(), std::as_writable_bytes(std::span(text)), 0).ok());
        vfs->close(opened.value());
        return text;
    }

    World world;
    Node& node;
    Vfs* vfs = nullptr;
    Fd root;
};

// How often each outcome of `scenario` occurred.
template <typename Scenario>
std::map<std::string, int> outcomes(Scenario&& scenario) {
    std::map<std::string, int> counts;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Machine machine(seed);
        ++counts[scenario(machine)];
    }
    return counts;
}

std::set<std::string> keys(const std::map<std::string, int>& counts) {
    std::set<std::string> names;
    for (const auto& [name, count] : counts) names.insert(name);
    return names;
}

using Names = std::set<std::string>;

TEST(Durability, UnsyncedContentMayBeOldOrNewOrCutOff) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "old");
        machine.sync_everything();
        machine.write("f", "newer");
        machine.power_cycle();
        return machine.read("f");
    });
    // The first three bytes of the page and the size go by themselves.
    EXPECT_EQ(keys(counts), (Names{"old", "new", "newer", std::string("old\0\0", 5)}));
}

TEST(Durability, SyncedContentStays) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "old");
        machine.sync_everything();
        machine.write("f", "newer");
        machine.sync("f");
        machine.power_cycle();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"newer"}));
}

TEST(Durability, ProcessKillLosesNothing) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.node.kill_process();
        machine.start();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"text"}));
}

TEST(Durability, PagesAreTornOnlyBetweenSectors) {
    bool was_torn = false;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Machine machine(seed);
        machine.write("f", std::string(8192, 'o'));
        machine.sync_everything();
        machine.write("f", std::string(8192, 'n'));
        machine.power_cycle();
        const std::string text = machine.read("f");
        ASSERT_EQ(text.size(), 8192U);
        for (std::size_t at = 0; at < text.size(); at += kSectorSize) {
            const std::string sector = text.substr(at, kSectorSize);
            ASSERT_EQ(sector, std::string(kSectorSize, sector[0]));
            if (at % kPageSize != 0 && sector[0] != text[at - 1]) was_torn = true;
        }
    }
    EXPECT_TRUE(was_torn);
}

TEST(Durability, NewFileMayBeMissingEmptyHollowOrWhole) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.power_cycle();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"-", "", "text", std::string(4, '\0')}));
}

TEST(Durability, SyncOfAFileMayLeaveItWithoutItsName) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.sync("f");
        machine.power_cycle();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"-", "text"}));
}

TEST(Durability, SyncOfFileAndDirectoryKeepsBoth) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.sync("f");
        machine.sync(".");
        machine.power_cycle();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"text"}));
}

TEST(Durability, SyncOfADirectoryAloneDoesNotKeepContent) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.sync(".");
        machine.power_cycle();
        return machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"", "text", std::string(4, '\0')}));
}

TEST(Durability, SyncOfTheFileSystemKeepsEverything) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        EXPECT_TRUE(machine.vfs->make_directory(machine.root, "d", 0700).ok());
        machine.sync_everything();
        EXPECT_TRUE(machine.node.disk().is_clean());
        machine.power_cycle();
        return machine.read("f") + (machine.vfs->stat_at(machine.root, "d").ok() ? "d" : "-");
    });
    EXPECT_EQ(keys(counts), (Names{"textd"}));
}

// --- Names ---------------------------------------------------------------------------------------

TEST(Durability, ReplacingRenameLeavesTheOldOrTheNewFile) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "old");
        machine.sync_everything();
        machine.write("f.tmp", "new");
        machine.sync("f.tmp");
        EXPECT_TRUE(machine.vfs->rename(machine.root, "f.tmp", machine.root, "f", 0).ok());
        machine.power_cycle();
        return machine.read("f") + " " + machine.read("f.tmp");
    });
    EXPECT_EQ(keys(counts), (Names{"old -", "old new", "new -"}));
}

TEST(Durability, RenameNeverLosesBothNames) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("a", "text");
        EXPECT_TRUE(machine.vfs->make_directory(machine.root, "d", 0700).ok());
        machine.sync_everything();
        EXPECT_TRUE(machine.vfs->make_directory(machine.root, "e", 0700).ok());
        const Fd directory = machine.open("e", O_RDONLY | O_DIRECTORY);
        EXPECT_TRUE(machine.vfs->rename(machine.root, "a", directory, "b", 0).ok());
        machine.power_cycle();
        auto moved = machine.vfs->open_at(machine.root, "e", O_RDONLY, 0);
        std::string text = machine.read("a");
        if (moved.ok() && machine.vfs->stat_at(moved.value(), "b").ok()) text += " moved";
        return text;
    });
    EXPECT_EQ(keys(counts), (Names{"text", "- moved"}));
}

TEST(Durability, ExchangeIsAtomic) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("a", "1");
        machine.write("b", "2");
        machine.sync_everything();
        EXPECT_TRUE(
            machine.vfs->rename(machine.root, "a", machine.root, "b", RENAME_EXCHANGE).ok());
        machine.power_cycle();
        return machine.read("a") + machine.read("b");
    });
    EXPECT_EQ(keys(counts), (Names{"12", "21"}));
}

TEST(Durability, UnlinkAfterLinkNeverLosesTheFile) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("a", "text");
        machine.sync_everything();
        const Fd file = machine.open("a");
        EXPECT_TRUE(machine.vfs->link(file, machine.root, "b").ok());
        EXPECT_TRUE(machine.vfs->unlink(machine.root, "a", false).ok());
        machine.power_cycle();
        return machine.read("a") + " " + machine.read("b");
    });
    EXPECT_EQ(keys(counts), (Names{"text -", "text text", "- text"}));
}

TEST(Durability, UnlinkedFileMayComeBackAndAnOpenUnlinkedOneIsGone) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", "text");
        machine.sync_everything();
        machine.open("f");
        EXPECT_TRUE(machine.vfs->unlink(machine.root, "f", false).ok());
        machine.power_cycle();
        return machine.read("f") + " " + std::to_string(machine.node.disk().inode_count());
    });
    EXPECT_EQ(keys(counts), (Names{"- 1", "text 2"}));
}

TEST(Durability, FileWithANameHasTheAttributesItHadWhenItGotThatName) {
    const auto counts = outcomes([](Machine& machine) {
        const Fd file = machine.open(".", O_RDWR | O_TMPFILE);
        EXPECT_TRUE(machine.vfs->set_xattr(file, "trusted.id", as_bytes("7"), 0).ok());
        EXPECT_TRUE(machine.vfs->set_mode(file, 0600).ok());
        EXPECT_TRUE(machine.vfs->link(file, machine.root, "f").ok());
        EXPECT_TRUE(machine.vfs->set_mode(file, 0640).ok());
        machine.power_cycle();
        auto opened = machine.vfs->open_at(machine.root, "f", O_PATH, 0);
        if (!opened.ok()) return std::string("-");
        std::byte value[8];
        EXPECT_TRUE(machine.vfs->get_xattr(opened.value(), "trusted.id", value).ok());
        return std::to_string(machine.vfs->stat(opened.value())->mode & 0777);
    });
    EXPECT_EQ(keys(counts), (Names{"-", std::to_string(0600), std::to_string(0640)}));
}

TEST(Durability, TruncationComesBackWhollyOrNotAtAll) {
    const auto counts = outcomes([](Machine& machine) {
        machine.write("f", std::string(3 * kPageSize, 'o'));
        machine.sync_everything();
        const Fd file = machine.open("f");
        EXPECT_TRUE(machine.vfs->truncate(file, 0).ok());
        EXPECT_TRUE(machine.vfs->truncate(file, 3 * kPageSize).ok());
        machine.power_cycle();
        const std::string text = machine.read("f");
        EXPECT_TRUE(text.empty() || text == std::string(text.size(), text[0]));
        return text.substr(0, 1) + " " + std::to_string(text.size() / kPageSize);
    });
    EXPECT_EQ(keys(counts), (Names{"o 3", " 0", std::string("\0 3", 3)}));
}

// --- Failed syncs --------------------------------------------------------------------------------

TEST(Durability, FailedSyncMayLoseThePagesAndTheNextOneSucceeds) {
    const auto counts = outcomes([](Machine& machine) {
        ScriptedFaults faults;
        faults.add({VfsCall::sync, nullptr, 0, 1, {EIO, true, 0}});
        machine.node.set_fault_policy(&faults);
        machine.write("f", "old");
        machine.sync_everything();
        machine.write("f", "new");
        const Fd file = machine.open("f");
        EXPECT_TRUE(machine.vfs->sync(file, false).is_errno(EIO));
        EXPECT_TRUE(machine.vfs->sync(file, false).ok());
        const std::string before = machine.read("f");
        machine.power_cycle();
        machine.node.set_fault_policy(nullptr);
        return before + " " + machine.read("f");
    });
    EXPECT_EQ(keys(counts), (Names{"new old", "old old"}));
}

// --- Anything ------------------------------------------------------------------------------------

// Random operations on a small tree with syncs and power cuts in between. After each cut the tree
// must be one: every object reachable from the root, every count right, no name twice; and what
// was synced and not touched since must be there.
class RandomTree {
   public:
    explicit RandomTree(std::uint64_t seed) : machine_(seed), prng_(seed * 77) {}

    void run() {
        for (int round = 0; round < 4; ++round) {
            const std::uint64_t steps = prng_.below(60);
            for (std::uint64_t i = 0; i < steps; ++i) step();
            machine_.power_cycle();
            check();
            check_kept();
            machine_.sync_everything();
        }
    }

   private:
    Fd random_directory() {
        Fd at = machine_.vfs->open_directory("/").value();
        while (prng_.one_in(2)) {
            auto next = machine_.vfs->open_at(at, name(), O_RDONLY | O_DIRECTORY, 0);
            if (!next.ok()) break;
            machine_.vfs->close(at);
            at = next.value();
        }
        return at;
    }
    std::string name() { return {static_cast<char>('a' + prng_.below(5))}; }
    void keep_file() {
        const std::string kept = "kept" + std::to_string(prng_.below(3));
        machine_.write(kept, kept);
        machine_.sync(kept);
        machine_.sync(".");
        kept_.insert(kept);
    }
    void step() {
        Vfs& vfs = *machine_.vfs;
        const Fd from = random_directory(), to = random_directory();
        switch (prng_.below(10)) {
            case 0:
            case 1:
                (void)vfs.make_directory(from, name(), 0755);
                break;
            case 2:
            case 3: {
                auto file = vfs.open_at(from, name(), O_CREAT | O_RDWR, 0644);
                if (!file.ok()) break;
                (void)vfs.pwrite(file.value(), as_bytes("text"), prng_.below(3) * kPageSize);
                if (prng_.one_in(4)) (void)vfs.sync(file.value(), true);
                if (prng_.one_in(4)) (void)vfs.set_mode(file.value(), 0600);
                (void)vfs.link(file.value(), to, name());
                if (!prng_.one_in(5)) vfs.close(file.value());
                break;
            }
            case 4:
                (void)vfs.unlink(from, name(), false);
                break;
            case 5:
                (void)vfs.unlink(from, name(), true);
                break;
            case 6:
                (void)vfs.rename(from, name(), to, name(), RENAME_EXCHANGE);
                break;
            case 7:
                (void)vfs.rename(from, name(), to, name(), RENAME_WHITEOUT);
                break;
            case 8:
                (void)vfs.rename(from, name(), to, name(), 0);
                break;
            case 9:
                prng_.one_in(3) ? keep_file() : static_cast<void>(vfs.sync(from, false));
                break;
        }
        vfs.close(from);
        vfs.close(to);
    }
    void check() {
        std::map<std::uint64_t, std::uint32_t> names;
        std::uint64_t directories = 0;
        walk(machine_.root, names, directories);
        EXPECT_EQ(names.size() + directories + 1, machine_.node.disk().inode_count());
    }
    void walk(Fd at, std::map<std::uint64_t, std::uint32_t>& names, std::uint64_t& directories) {
        std::vector<DirectoryEntry> entries;
        ASSERT_TRUE(machine_.vfs->read_directory(at, 0, 1000, entries).ok());
        std::uint32_t subdirectories = 0;
        for (const DirectoryEntry& entry : entries) {
            const Fd child = machine_.vfs->open_at(at, entry.name, O_PATH, 0).value();
            const FileStat stat = machine_.vfs->stat(child).value();
            if (S_ISDIR(stat.mode)) {
                ++subdirectories;
                ++directories;
                const auto place = machine_.vfs->locate(child);
                EXPECT_EQ(place->name, entry.name);
                EXPECT_EQ(machine_.vfs->stat(place->parent)->inode, machine_.vfs->stat(at)->inode);
                const Fd inner =
                    machine_.vfs->open_at(at, entry.name, O_RDONLY | O_DIRECTORY, 0).value();
                walk(inner, names, directories);
            } else {
                ++names[stat.inode];
                EXPECT_GE(stat.link_count, names[stat.inode]);
            }
        }
        EXPECT_EQ(machine_.vfs->stat(at)->link_count, 2 + subdirectories);
    }
    void check_kept() {
        for (const std::string& kept : kept_) EXPECT_EQ(machine_.read(kept), kept);
    }

    Machine machine_;
    Prng prng_;
    std::set<std::string> kept_;
};

TEST(Durability, AnyPowerCutLeavesATreeWithAllThatWasSynced) {
    for (std::uint64_t seed = 1; seed <= 500 && !testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        RandomTree(seed).run();
    }
}

}  // namespace
}  // namespace gemel::sim
