// SPDX-License-Identifier: Apache-2.0
#include "ebpf/tracker_sets.hpp"

#include "engine/base/assert.hpp"

#include <bpf/bpf.h>
#include <cerrno>
#include <unistd.h>

namespace gemel {

namespace {

constexpr std::uint32_t kZero = 0;
constexpr std::uint32_t kBatch = 4096;
constexpr const char* kObjectsArray = "active_objects";
constexpr const char* kRangesArray = "active_ranges";

std::string table_name(const char* kind, std::size_t index) {
    return std::string(kind) + '_' + std::to_string(index);
}

Status last_error() noexcept { return Status::from_errno(errno); }

Result<std::uint32_t> id_of(int map) noexcept {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(map, &info, &size) != 0) return last_error();
    return info.id;
}

template <typename Key, typename Value>
Status read_all(int map, std::vector<std::pair<Key, Value>>& entries) noexcept {
    std::vector<Key> keys(kBatch);
    std::vector<Value> values(kBatch);
    std::uint32_t batch = 0;
    for (bool is_first = true;; is_first = false) {
        std::uint32_t count = kBatch;
        const int failed = bpf_map_lookup_batch(map, is_first ? nullptr : &batch, &batch,
                                                keys.data(), values.data(), &count, nullptr);
        if (failed != 0 && errno != ENOENT) return last_error();
        for (std::uint32_t i = 0; i < count; ++i) entries.emplace_back(keys[i], values[i]);
        if (failed != 0) return Status();
    }
}

template <typename Key, typename Value>
Status remove_all(int map) noexcept {
    std::vector<std::pair<Key, Value>> entries;
    GEMEL_TRY(read_all(map, entries));
    for (const auto& entry : entries) {
        if (bpf_map_delete_elem(map, &entry.first) != 0 && errno != ENOENT) return last_error();
    }
    return Status();
}

bool is_device(const TrackerSets::Object& object) noexcept { return object.first.inode == 0; }

}  // namespace

BpfFd::~BpfFd() {
    if (fd_ >= 0) ::close(fd_);
}

Result<BpfFd> open_pinned(const std::string& directory, const std::string& name) noexcept {
    const int fd = bpf_obj_get((directory + '/' + name).c_str());
    if (fd < 0) return last_error();
    return BpfFd(fd);
}

Result<std::size_t> TrackerSets::Tables::spare() const noexcept {
    std::uint32_t used = 0;
    if (bpf_map_lookup_elem(active.get(), &kZero, &used) != 0) return last_error();
    for (std::size_t i = 0; i < table.size(); ++i) {
        const Result<std::uint32_t> id = id_of(table[i].get());
        if (!id.ok()) return id.status();
        if (id.value() == used) return 1 - i;
    }
    return Status(Code::corrupt);
}

// The kernel answers when every program that may have used the other table has ended.
Status TrackerSets::Tables::exchange() noexcept {
    const Result<std::size_t> next = spare();
    if (!next.ok()) return next.status();
    const int fd = table[next.value()].get();
    return bpf_map_update_elem(active.get(), &kZero, &fd, BPF_ANY) == 0 ? Status() : last_error();
}

Status TrackerSets::open_arrays(const std::string& directory) noexcept {
    for (const auto& [tables, name] :
         {std::pair{&objects_, kObjectsArray}, std::pair{&ranges_, kRangesArray}}) {
        Result<BpfFd> array = open_pinned(directory, name);
        if (!array.ok()) return array.status();
        tables->active = std::move(array).value();
    }
    return Status();
}

Status TrackerSets::create(const std::string& directory, std::uint32_t objects_max,
                           std::uint32_t words_max) noexcept {
    GEMEL_TRY(open_arrays(directory));
    struct Kind {
        Tables& tables;
        const char* name;
        std::uint32_t key_size, value_size, entries_max;
    };
    const Kind kinds[] = {
        {objects_, "objects", sizeof(tracker_object), sizeof(tracker_state), objects_max},
        {ranges_, "ranges", sizeof(tracker_word), sizeof(std::uint64_t), words_max}};
    for (const Kind& kind : kinds) {
        for (std::size_t i = 0; i < kind.tables.table.size(); ++i) {
            const int fd = bpf_map_create(BPF_MAP_TYPE_HASH, kind.name, kind.key_size,
                                          kind.value_size, kind.entries_max, nullptr);
            if (fd < 0) return last_error();
            kind.tables.table[i] = BpfFd(fd);
            const std::string pin = directory + '/' + table_name(kind.name, i);
            if (bpf_obj_pin(fd, pin.c_str()) != 0) return last_error();
        }
        const int first = kind.tables.table[0].get();
        if (bpf_map_update_elem(kind.tables.active.get(), &kZero, &first, BPF_ANY) != 0) {
            return last_error();
        }
    }
    return Status();
}

Status TrackerSets::adopt(const std::string& directory) noexcept {
    GEMEL_TRY(open_arrays(directory));
    for (const auto& [tables, name] :
         {std::pair{&objects_, "objects"}, std::pair{&ranges_, "ranges"}}) {
        for (std::size_t i = 0; i < tables->table.size(); ++i) {
            Result<BpfFd> table = open_pinned(directory, table_name(name, i));
            if (!table.ok()) return table.status();
            tables->table[i] = std::move(table).value();
        }
        const Result<std::size_t> spare = tables->spare();
        if (!spare.ok()) return spare.status();
    }
    return Status();
}

Status TrackerSets::put_device(int table, std::uint32_t device) const noexcept {
    tracker_object key{};
    key.device = device;
    const tracker_state nothing{};
    if (bpf_map_update_elem(table, &key, &nothing, BPF_NOEXIST) == 0 || errno == EEXIST) {
        return Status();
    }
    return last_error();
}

Status TrackerSets::add_device(std::uint32_t device) noexcept {
    for (const BpfFd& table : objects_.table) GEMEL_TRY(put_device(table.get(), device));
    devices_.push_back(device);
    return Status();
}

Status TrackerSets::read(std::vector<Object>& objects, std::vector<Word>& words) const noexcept {
    const Result<std::size_t> spare_objects = objects_.spare();
    if (!spare_objects.ok()) return spare_objects.status();
    const Result<std::size_t> spare_ranges = ranges_.spare();
    if (!spare_ranges.ok()) return spare_ranges.status();
    GEMEL_TRY(read_all(objects_.table[spare_objects.value()].get(), objects));
    std::erase_if(objects, [](const Object& object) {
        return is_device(object) && (object.second.what & TRACKER_LOST) == 0;
    });
    return read_all(ranges_.table[spare_ranges.value()].get(), words);
}

Status TrackerSets::take(std::vector<Object>& objects, std::vector<Word>& words) noexcept {
    objects.clear();
    words.clear();
    GEMEL_TRY(read(objects, words));
    if (!objects.empty() || !words.empty()) return Status();
    const Result<std::size_t> next = objects_.spare();
    if (!next.ok()) return next.status();
    // A crash while the tables were being emptied may have left them without these.
    for (const std::uint32_t device : devices_) {
        GEMEL_TRY(put_device(objects_.table[next.value()].get(), device));
    }
    GEMEL_TRY(objects_.exchange());
    GEMEL_TRY(ranges_.exchange());
    return read(objects, words);
}

Status TrackerSets::confirm() noexcept {
    const Result<std::size_t> objects = objects_.spare();
    if (!objects.ok()) return objects.status();
    const Result<std::size_t> ranges = ranges_.spare();
    if (!ranges.ok()) return ranges.status();
    // Ranges first: without its object a range still says what changed.
    const int table = objects_.table[objects.value()].get();
    GEMEL_TRY((remove_all<tracker_word, std::uint64_t>(ranges_.table[ranges.value()].get())));
    GEMEL_TRY((remove_all<tracker_object, tracker_state>(table)));
    for (const std::uint32_t device : devices_) GEMEL_TRY(put_device(table, device));
    return Status();
}

}  // namespace gemel
