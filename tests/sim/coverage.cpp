// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/coverage.hpp"

#include "engine/store/identity.hpp"
#include "tests/sim/node_program.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace gemel::sim {

namespace {

// A tree by the ids of its objects.
struct ById {
    std::map<ObjectId, Inode*> objects;
    std::map<ObjectId, std::map<std::string, ObjectId>> names;
};

class Walk {
   public:
    Walk(FileSystem& disk, const Uuid& volume) : disk_(disk), volume_(volume) {
        take(disk.root(), kRootObject);
    }
    ById found;

   private:
    void take(Inode& inode, ObjectId id) {
        if (!id.is_none()) found.objects.emplace(id, &inode);
        if (!S_ISDIR(inode.meta.mode)) return;
        std::vector<DirectoryEntry> entries;
        for (std::uint64_t position = 0;;) {
            const std::size_t before = entries.size();
            disk_.list(inode, position, 1000, entries);
            if (entries.size() == before) break;
            position = entries.back().next;
        }
        std::map<std::string, ObjectId>& names = found.names[id];
        for (const DirectoryEntry& entry : entries) {
            if (id == kRootObject && entry.name == ".gemel") continue;
            Inode& child = *disk_.lookup(inode, entry.name).value();
            const ObjectId child_id = id_of(child);
            names[entry.name] = child_id;
            // What has no id is known by its name.
            if (!child_id.is_none()) take(child, child_id);
        }
    }

    ObjectId id_of(const Inode& inode) {
        const ByteBuffer* value = FileSystem::find_xattr(inode, kIdentityAttribute);
        if (value == nullptr) return {};
        const Result<Identity> identity = decode_identity(*value);
        return identity.ok() && identity->volume == volume_ ? identity->object : ObjectId();
    }

    FileSystem& disk_;
    const Uuid& volume_;
};

// Who knows that an aspect of an object differs.
class Known {
   public:
    explicit Known(const DirtyMap& map) : map_(map) {}

    void add(const IntentLog& intents) {
        intents.for_each([this](const IntentKey& key) {
            if (key.volume != 0) return;
            intents_.insert(key);
            if (key.region == IntentKey::kIdRange) ranges_.push_back(key.object);
        });
    }
    [[nodiscard]] bool names(ObjectId id) const {
        return map_.is_absent(id) || map_.names_dirty(id) || covers(id, IntentKey::kNames);
    }
    [[nodiscard]] bool attributes(ObjectId id) const {
        return map_.is_absent(id) || map_.attributes_dirty(id) ||
               covers(id, IntentKey::kAttributes);
    }
    // Size and times go with content too, and a directory's times with its names.
    [[nodiscard]] bool times(ObjectId id) const {
        if (attributes(id) || names(id) || map_.any_content_dirty(id)) return true;
        const auto first = intents_.lower_bound({id, 0, 0});
        return first != intents_.end() && first->object == id;
    }
    [[nodiscard]] bool content(ObjectId id, std::uint64_t offset) const {
        return map_.is_absent(id) || map_.content_dirty(id, offset, kDirtyUnit) ||
               covers(id, IntentKey::kAllContent) ||
               covers(id, static_cast<std::uint32_t>(offset / kIntentRegionSize));
    }

   private:
    [[nodiscard]] bool covers(ObjectId id, std::uint32_t region) const {
        if (intents_.contains({id, region, 0})) return true;
        if (intents_.contains({kNoObject, IntentKey::kVolume, 0})) return true;
        return std::any_of(ranges_.begin(), ranges_.end(), [id](ObjectId first) {
            return id.tag() == first.tag() && id.sequence() >= first.sequence() &&
                   id.sequence() < first.sequence() + kIdRangeCount;
        });
    }

    const DirtyMap& map_;
    std::set<IntentKey> intents_;
    std::vector<ObjectId> ranges_;
};

class Differences {
   public:
    Differences(const ById& here, const ById& there, const Known& known)
        : here_(here), there_(there), known_(known) {}

    void look() {
        for (const auto& [id, names] : here_.names) {
            const auto other = there_.names.find(id);
            if (other == there_.names.end() || other->second == names) continue;
            judge(known_.names(id), id, "names");
        }
        for (const auto& [id, inode] : here_.objects) {
            const auto other = there_.objects.find(id);
            // An object that is missing there, or has gone here, shows in the names.
            if (other == there_.objects.end() || id == kRootObject) continue;
            objects(id, *inode, *other->second);
        }
    }

    std::uint64_t count = 0;
    std::string unknown;  // the first that nobody knows of

   private:
    void judge(bool is_known, ObjectId id, const std::string& what) {
        ++count;
        if (is_known || !unknown.empty()) return;
        unknown =
            what + " of object " + std::to_string(id.tag()) + ':' + std::to_string(id.sequence());
    }

    void objects(ObjectId id, Inode& here, Inode& there) {
        const bool same = here.meta.mode == there.meta.mode && here.meta.uid == there.meta.uid &&
                          here.meta.gid == there.meta.gid && kept(here) == kept(there);
        if (!same) judge(known_.attributes(id), id, "attributes");
        const bool is_file = S_ISREG(here.meta.mode) && S_ISREG(there.meta.mode);
        const bool same_size = !is_file || here.data.size == there.data.size;
        if (!same_size || here.data.modified != there.data.modified) {
            judge(known_.times(id), id, "size or times");
        }
        if (is_file) contents(id, here, there);
    }

    // What lies behind a smaller file's end there reads as zeros; what has been cut off here is
    // the size's business.
    void contents(ObjectId id, const Inode& here, const Inode& there) {
        for (std::uint64_t offset = 0; offset < here.data.size; offset += kDirtyUnit) {
            if (page(here, offset) == page(there, offset)) continue;
            judge(known_.content(id, offset), id, "content at " + std::to_string(offset));
        }
    }

    static ByteBuffer page(const Inode& file, std::uint64_t offset) {
        ByteBuffer bytes(kDirtyUnit);
        if (offset >= file.data.size) return bytes;
        const std::uint64_t size = std::min(kDirtyUnit, file.data.size - offset);
        file.content.read(offset, MutableBytes(bytes).first(size));
        return bytes;
    }

    static XattrMap kept(const Inode& inode) {
        XattrMap result;
        if (inode.meta.xattrs == nullptr) return result;
        for (const auto& [name, value] : *inode.meta.xattrs) {
            if (!std::string_view(name).starts_with(kPrivateAttributePrefix)) result[name] = value;
        }
        return result;
    }

    const ById& here_;
    const ById& there_;
    const Known& known_;
};

bool is_compared_in_full(const Superblock& facts) {
    return facts.histories.empty() ||
           std::any_of(facts.volumes.begin(), facts.volumes.end(),
                       [](const SuperblockVolume& volume) { return volume.must_compare; });
}

}  // namespace

Coverage::Coverage(Cluster& cluster) : cluster_(cluster), prng_(cluster.world.seed()) {}

void Coverage::start() {
    const auto delay = static_cast<std::int64_t>(prng_.between(1, prng_.one_in(2) ? 20 : 400));
    cluster_.world.after(Duration::milliseconds(delay), [this] {
        look();
        start();
    });
}

void Coverage::look() {
    if (!cluster_.names->exclude.empty() || !cluster_.failures.empty()) return;
    for (const std::size_t node : {Cluster::kAlpha, Cluster::kBeta}) {
        const NodeProgram* serving = cluster_.program(node);
        if (serving == nullptr || cluster_.program(1 - node) == nullptr) continue;
        const ReplicaRole role = serving->replica().role();
        if (role != ReplicaRole::alone && role != ReplicaRole::held) continue;
        if (serving->replica().link() == nullptr) check(node);
    }
}

void Coverage::check(std::size_t serving) {
    const std::size_t other = 1 - serving;
    const NodeProgram& here = *cluster_.program(serving);
    const NodeProgram& there = *cluster_.program(other);
    const Uuid& volume = here.replica().volume(0).id();
    if (volume != there.replica().volume(0).id()) return;
    if (is_compared_in_full(here.node()->machine().superblock())) return;
    if (is_compared_in_full(there.node()->machine().superblock())) return;

    Known known(here.replica().dirty_map(0));
    known.add(there.replica().intents());
    const Uuid& boot = cluster_.machines[other]->boot_id();
    if (here.port().resync_memory().peer_boot != boot) known.add(here.replica().intents());
    const Walk own(*cluster_.machines[serving]->find(ClusterNames::kData).file_system, volume);
    const Walk others(*cluster_.machines[other]->find(ClusterNames::kData).file_system, volume);
    Differences differences(own.found, others.found, known);
    differences.look();
    differences_ += differences.count;
    if (differences.unknown.empty()) return;
    cluster_.failures.push_back("nobody knows that the copies differ: " + differences.unknown);
}

}  // namespace gemel::sim
