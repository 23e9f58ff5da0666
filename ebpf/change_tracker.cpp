// SPDX-License-Identifier: Apache-2.0
#include "ebpf/change_tracker.hpp"

#include "ebpf/tracker_points.hpp"
#include "ebpf/tracker_sets.hpp"
#include "ebpf/watched_file_system.hpp"
#include "engine/base/checksum.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <tracker.skel.h>
#include <tuple>
#include <unistd.h>

namespace gemel {

namespace {

static_assert(kTrackedUnit == std::uint64_t{1} << TRACKER_UNIT_BITS);

constexpr std::uint32_t kZero = 0;
constexpr std::int64_t kBpfFileSystem = 0xCAFE4A11;  // linux/magic.h
constexpr const char* kLinkPrefix = "link_";
// The bytes that one entry of both tables costs in both sets, their buckets included.
constexpr std::uint64_t kBytesPerEntry = 2 * (48 + 16 + 48 + 16 + 48 + 24 + 8 + 16);

// libbpf has one place for what it has to say, per process.
std::string* g_libbpf_text = nullptr;

int keep_text(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG || g_libbpf_text == nullptr) return 0;
    std::array<char, 4096> line{};
    const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
    if (size > 0) g_libbpf_text->append(line.data());
    return size;
}

// Collects it while it lives.
class LibbpfText {
   public:
    LibbpfText() noexcept {
        libbpf_set_print(keep_text);
        g_libbpf_text = &text_;
    }
    ~LibbpfText() { g_libbpf_text = nullptr; }
    LibbpfText(const LibbpfText&) = delete;
    LibbpfText& operator=(const LibbpfText&) = delete;

    void log(LogSink& log) const noexcept {
        std::istringstream lines(text_);
        for (std::string line; std::getline(lines, line);) log.log(LogLevel::warning, line);
    }

   private:
    std::string text_;
};

Status last_error() noexcept { return Status::from_errno(errno); }

// Of the calling process, as tracker_owner.start wants it: the 22nd field of /proc/self/stat, the
// third behind the name in brackets being its state.
std::uint64_t start_of_self() noexcept {
    std::ifstream file("/proc/self/stat");
    std::string text;
    std::getline(file, text);
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string word;
    for (int field = 3; field <= 22; ++field) fields >> word;
    return std::strtoull(word.c_str(), nullptr, 10);
}

Status ensure_bpf_file_system(const std::string& directory) noexcept {
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return last_error();
    struct statfs facts {};
    if (::statfs(directory.c_str(), &facts) != 0) return last_error();
    if (static_cast<std::int64_t>(facts.f_type) == kBpfFileSystem) return Status();
    return ::mount("bpf", directory.c_str(), "bpf", 0, "mode=0700") == 0 ? Status() : last_error();
}

WallTime wall_time(std::uint64_t ns) noexcept {
    return {static_cast<std::int64_t>(ns / 1'000'000'000),
            static_cast<std::uint32_t>(ns % 1'000'000'000)};
}

std::uint64_t nanoseconds(WallTime time) noexcept {
    return static_cast<std::uint64_t>(time.seconds) * 1'000'000'000 + time.nanoseconds;
}

template <typename Value>
Result<Value> read_entry(const BpfFd& map, std::uint32_t index = kZero) noexcept {
    Value value{};
    if (bpf_map_lookup_elem(map.get(), &index, &value) != 0) return last_error();
    return value;
}

template <typename Value>
Status write_entry(const BpfFd& map, const Value& value) noexcept {
    return bpf_map_update_elem(map.get(), &kZero, &value, BPF_ANY) == 0 ? Status() : last_error();
}

Digest128 digest_of_programs() noexcept {
    std::size_t size = 0;
    const auto* bytes = static_cast<const std::byte*>(tracker__elf_bytes(&size));
    return digest128(Bytes(bytes, size));
}

}  // namespace

class LoadedTracker final : public ChangeTracker {
   public:
    explicit LoadedTracker(LogSink& log, const Options& options) noexcept
        : log_(log), options_(options) {}

    Status start(std::string& why) noexcept;

    Result<std::size_t> watch(int directory, std::string& why) noexcept override;
    [[nodiscard]] WallTime watched_since(std::size_t file_system) const noexcept override;
    [[nodiscard]] bool has_news() noexcept override;
    Status take(ChangeRecord& record) noexcept override;
    Status confirm() noexcept override;
    [[nodiscard]] ChangeCounters counters() const noexcept override;
    [[nodiscard]] std::string description() const override { return "raw tracepoints"; }
    [[nodiscard]] bool was_adopted() const noexcept override { return was_adopted_; }

   private:
    using Key = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;
    static Key key_of(const tracker_object& object) noexcept {
        return {object.device, object.inode, object.generation};
    }

    Status adopt() noexcept;
    Status load(std::string& why) noexcept;
    Status pin(const tracker& programs) noexcept;
    Status open_maps() noexcept;
    Status open_links() noexcept;
    Status set_owner() noexcept;
    Result<std::uint64_t> missed_runs() const noexcept;
    [[nodiscard]] const WatchedFileSystem* find(std::uint32_t device,
                                                std::size_t& number) const noexcept;
    void add_objects(const std::vector<TrackerSets::Object>& objects,
                     std::map<Key, ObjectChange>& changes, ChangeRecord& record) const noexcept;
    void add_words(const std::vector<TrackerSets::Word>& words,
                   std::map<Key, ObjectChange>& changes) const noexcept;
    ObjectChange& change_of(const tracker_object& object, std::map<Key, ObjectChange>& changes,
                            std::size_t number, const WatchedFileSystem& where) const noexcept;

    LogSink& log_;
    Options options_;
    TrackerPoints points_;
    TrackerSets sets_;
    BpfFd devices_, owner_, counts_, meta_, wake_;
    std::vector<BpfFd> links_;
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring_{nullptr, ring_buffer__free};
    std::vector<std::pair<WatchedFileSystem, WallTime>> file_systems_;
    std::atomic<std::uint64_t> misses_reported_{0};
    std::uint64_t misses_taken_ = 0;
    bool was_adopted_ = false;
    bool has_news_ = true;  // what an earlier process left
};

Status LoadedTracker::start(std::string& why) noexcept {
    Result<TrackerPoints> points = TrackerPoints::probe(why);
    if (!points.ok()) return points.status();
    points_ = std::move(points).value();
    if (const Status mounted = ensure_bpf_file_system(options_.pin_directory); !mounted.ok()) {
        why = "no BPF file system can be had at " + options_.pin_directory + ": " +
              mounted.to_string();
        return mounted;
    }
    was_adopted_ = adopt().ok();
    if (!was_adopted_) {
        remove(options_.pin_directory);
        GEMEL_TRY(load(why));
    }
    const Status owned = set_owner();
    if (!owned.ok()) why = "its maps can't be used: " + owned.to_string();
    return owned;
}

Status LoadedTracker::open_maps() noexcept {
    for (const auto& [fd, name] :
         {std::pair{&devices_, "devices"}, std::pair{&owner_, "owner"},
          std::pair{&counts_, "counts"}, std::pair{&meta_, "meta"}, std::pair{&wake_, "wake"}}) {
        Result<BpfFd> opened = open_pinned(options_.pin_directory, name);
        if (!opened.ok()) return opened.status();
        *fd = std::move(opened).value();
    }
    ring_.reset(ring_buffer__new(
        wake_.get(), [](void*, void*, std::size_t) { return 0; }, nullptr, nullptr));
    return ring_ ? Status() : last_error();
}

Status LoadedTracker::open_links() noexcept {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(options_.pin_directory, error)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(kLinkPrefix)) continue;
        Result<BpfFd> link = open_pinned(options_.pin_directory, name);
        if (!link.ok()) return link.status();
        links_.push_back(std::move(link).value());
    }
    return links_.empty() ? Status(Code::not_found) : Status();
}

Status LoadedTracker::adopt() noexcept {
    GEMEL_TRY(open_maps());
    const Result<tracker_meta> meta = read_entry<tracker_meta>(meta_);
    if (!meta.ok()) return meta.status();
    const Digest128 programs = digest_of_programs();
    if (meta->layout != TRACKER_LAYOUT || meta->state != 1 ||
        std::memcmp(meta->boot, options_.boot.bytes.data(), sizeof meta->boot) != 0 ||
        std::memcmp(meta->program, &programs, sizeof meta->program) != 0) {
        return Status(Code::foreign);
    }
    GEMEL_TRY(open_links());
    GEMEL_TRY(sets_.adopt(options_.pin_directory));
    misses_reported_ = meta->misses;
    // Its devices are watched on; which of them matters is for watch() to say.
    const Result<tracker_devices> devices = read_entry<tracker_devices>(devices_);
    if (!devices.ok()) return devices.status();
    TrackerPoints& points = points_;
    tracker* none = tracker__open();
    if (none == nullptr) return last_error();
    points.select(*none->obj, options_.without);
    tracker__destroy(none);
    return Status();
}

Status LoadedTracker::load(std::string& why) noexcept {
    const LibbpfText text;
    links_.clear();
    const std::unique_ptr<tracker, void (*)(tracker*)> programs(tracker__open(), tracker__destroy);
    if (!programs) {
        why = "its programs can't be opened: " + last_error().to_string();
        return last_error();
    }
    points_.select(*programs->obj, options_.without);
    programs->rodata->btrfs_delalloc_bit = points_.btrfs_delalloc_bit();
    programs->rodata->folio_head_bit = points_.folio_head_bit();
    int failed = tracker__load(programs.get());
    if (failed == 0) failed = tracker__attach(programs.get());
    if (failed != 0) {
        const Status status = Status::from_errno(-failed);
        text.log(log_);
        why = "the kernel refuses its programs (" + status.to_string() + ')';
        return status;
    }
    const Status pinned = pin(*programs);
    if (!pinned.ok()) {
        remove(options_.pin_directory);
        why = "it can't be pinned in " + options_.pin_directory + ": " + pinned.to_string();
    }
    return pinned;
}

Status LoadedTracker::pin(const tracker& programs) noexcept {
    const std::string& directory = options_.pin_directory;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, programs.obj) {
        if (bpf_map__is_internal(map)) continue;
        const std::string path = directory + '/' + bpf_map__name(map);
        if (bpf_map__pin(map, path.c_str()) != 0) return last_error();
    }
    const std::uint64_t entries =
        std::max<std::uint64_t>(options_.memory_bytes / kBytesPerEntry, 64);
    const auto entries_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(entries, 1 << 24));
    GEMEL_TRY(sets_.create(directory, entries_max, entries_max));
    for (int i = 0; i < programs.skeleton->prog_cnt; ++i) {
        bpf_link* link = *programs.skeleton->progs[i].link;
        if (link == nullptr) continue;
        const std::string path = directory + '/' + kLinkPrefix + programs.skeleton->progs[i].name;
        if (bpf_link__pin(link, path.c_str()) != 0) return last_error();
    }
    GEMEL_TRY(open_maps());
    GEMEL_TRY(open_links());
    const Digest128 digest = digest_of_programs();
    tracker_meta meta{};
    meta.layout = TRACKER_LAYOUT;
    meta.state = 1;
    meta.loaded_ns = nanoseconds(options_.now);
    std::memcpy(meta.boot, options_.boot.bytes.data(), sizeof meta.boot);
    static_assert(sizeof digest == sizeof meta.program);
    std::memcpy(meta.program, &digest, sizeof meta.program);
    return write_entry(meta_, meta);
}

Status LoadedTracker::set_owner() noexcept {
    tracker_owner owner{};
    owner.tgid = static_cast<std::uint32_t>(::getpid());
    owner.start = start_of_self();
    return write_entry(owner_, owner);
}

Result<std::size_t> LoadedTracker::watch(int directory, std::string& why) noexcept {
    Result<WatchedFileSystem> found = WatchedFileSystem::of(directory, why);
    if (!found.ok()) return found.status();
    if (const std::string& missing = points_.missing_for(found->kind()); !missing.empty()) {
        why = "can't be watched: " + missing;
        return Status(Code::unsupported);
    }
    std::size_t number = 0;
    if (find(found->device(), number) != nullptr) return number;
    Result<tracker_devices> list = read_entry<tracker_devices>(devices_);
    if (!list.ok()) return list.status();
    const auto* begin = list->device;
    const auto* end = begin + list->count;
    const auto* known = std::find_if(begin, end, [&](const tracker_device& device) {
        return device.device == found->device() && device.kind == found->kind();
    });
    WallTime since = options_.now;
    GEMEL_TRY(sets_.add_device(found->device()));
    if (known != end) {
        since = wall_time(known->since_ns);
    } else {
        if (list->count == TRACKER_DEVICES_MAX) {
            why = "is on the file system number " + std::to_string(TRACKER_DEVICES_MAX + 1);
            return Status(Code::unsupported);
        }
        list->device[list->count++] = {found->device(), found->kind(), nanoseconds(since)};
        GEMEL_TRY(write_entry(devices_, list.value()));
    }
    file_systems_.emplace_back(std::move(found).value(), since);
    return file_systems_.size() - 1;
}

WallTime LoadedTracker::watched_since(std::size_t file_system) const noexcept {
    return file_systems_[file_system].second;
}

bool LoadedTracker::has_news() noexcept {
    if (ring_buffer__consume(ring_.get()) > 0) has_news_ = true;
    return std::exchange(has_news_, false);
}

// How often the kernel has skipped one of the programs because it was running already on that
// processor.
Result<std::uint64_t> LoadedTracker::missed_runs() const noexcept {
    std::uint64_t sum = 0;
    for (const BpfFd& link : links_) {
        bpf_link_info about{};
        std::uint32_t size = sizeof about;
        if (bpf_obj_get_info_by_fd(link.get(), &about, &size) != 0) return last_error();
        const BpfFd program(bpf_prog_get_fd_by_id(about.prog_id));
        if (!program.is_open()) return last_error();
        bpf_prog_info info{};
        size = sizeof info;
        if (bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return last_error();
        sum += info.recursion_misses;
    }
    return sum;
}

const WatchedFileSystem* LoadedTracker::find(std::uint32_t device,
                                             std::size_t& number) const noexcept {
    for (number = 0; number < file_systems_.size(); ++number) {
        if (file_systems_[number].first.device() == device) return &file_systems_[number].first;
    }
    return nullptr;
}

ObjectChange& LoadedTracker::change_of(const tracker_object& object,
                                       std::map<Key, ObjectChange>& changes, std::size_t number,
                                       const WatchedFileSystem& where) const noexcept {
    const auto [found, is_new] = changes.try_emplace(key_of(object));
    if (is_new) {
        found->second.file_system = number;
        found->second.handle = where.handle_of(object.inode, object.generation);
    }
    return found->second;
}

void LoadedTracker::add_objects(const std::vector<TrackerSets::Object>& objects,
                                std::map<Key, ObjectChange>& changes,
                                ChangeRecord& record) const noexcept {
    for (const auto& [object, state] : objects) {
        std::size_t number = 0;
        const WatchedFileSystem* where = find(object.device, number);
        if (where == nullptr) continue;  // watched for a configuration of before
        if (object.inode == 0) {
            record.incomplete.push_back(number);
            continue;
        }
        ObjectChange& change = change_of(object, changes, number, *where);
        change.attributes = (state.what & TRACKER_ATTRIBUTES) != 0;
        change.names = (state.what & TRACKER_NAMES) != 0;
        if ((state.what & TRACKER_CONTENT) != 0) {
            change.ranges.push_back({0, DirtyRange::kEndOfObject});
        } else if ((state.what & TRACKER_TAIL) != 0) {
            change.ranges.push_back(
                {state.tail / kTrackedUnit * kTrackedUnit, DirtyRange::kEndOfObject});
        }
        change.bytes = state.bytes;
        change.events = state.events;
        change.changer = {std::string(state.comm, ::strnlen(state.comm, sizeof state.comm)),
                          state.pid, state.uid};
    }
}

void LoadedTracker::add_words(const std::vector<TrackerSets::Word>& words,
                              std::map<Key, ObjectChange>& changes) const noexcept {
    constexpr std::uint64_t kPerWord = std::uint64_t{1} << TRACKER_WORD_BITS;
    for (const auto& [word, bits] : words) {
        std::size_t number = 0;
        const WatchedFileSystem* where = find(word.object.device, number);
        if (where == nullptr) continue;
        ObjectChange& change = change_of(word.object, changes, number, *where);
        for (std::uint64_t bit = 0; bit < kPerWord; ++bit) {
            if ((bits >> bit & 1) == 0) continue;
            const std::uint64_t begin = (word.word * kPerWord + bit) * kTrackedUnit;
            change.ranges.push_back({begin, begin + kTrackedUnit});
        }
    }
}

Status LoadedTracker::take(ChangeRecord& record) noexcept {
    std::vector<TrackerSets::Object> objects;
    std::vector<TrackerSets::Word> words;
    GEMEL_TRY(sets_.take(objects, words));
    const Result<std::uint64_t> misses = missed_runs();
    if (!misses.ok()) return misses.status();
    misses_taken_ = misses.value();
    std::map<Key, ObjectChange> changes;
    add_objects(objects, changes, record);
    add_words(words, changes);
    if (misses_taken_ != misses_reported_) {
        for (std::size_t i = 0; i < file_systems_.size(); ++i) record.incomplete.push_back(i);
    }
    for (auto& [key, change] : changes) {
        std::vector<DirtyRange>& ranges = change.ranges;
        std::sort(ranges.begin(), ranges.end(), [](const DirtyRange& a, const DirtyRange& b) {
            return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
        });
        std::size_t last = 0;
        for (std::size_t i = 1; i < ranges.size(); ++i) {
            if (ranges[i].begin <= ranges[last].end) {
                ranges[last].end = std::max(ranges[last].end, ranges[i].end);
            } else {
                ranges[++last] = ranges[i];
            }
        }
        if (!ranges.empty()) ranges.resize(last + 1);
        record.objects.push_back(std::move(change));
    }
    return Status();
}

Status LoadedTracker::confirm() noexcept {
    GEMEL_TRY(sets_.confirm());
    Result<tracker_meta> meta = read_entry<tracker_meta>(meta_);
    if (!meta.ok()) return meta.status();
    ++meta->sequence;
    meta->misses = misses_taken_;
    GEMEL_TRY(write_entry(meta_, meta.value()));
    misses_reported_ = misses_taken_;
    return Status();
}

ChangeCounters LoadedTracker::counters() const noexcept {
    ChangeCounters counters;
    const auto count = [this](std::uint32_t index) {
        const Result<std::uint64_t> value = read_entry<std::uint64_t>(counts_, index);
        return value.ok() ? value.value() : 0;
    };
    counters.objects_lost = count(TRACKER_COUNT_OBJECTS_FULL);
    counters.ranges_widened = count(TRACKER_COUNT_RANGES_FULL) + count(TRACKER_COUNT_LONG);
    const Result<std::uint64_t> misses = missed_runs();
    counters.runs_missed = misses.ok() ? misses.value() : 0;
    return counters;
}

Result<std::unique_ptr<ChangeTracker>> ChangeTracker::open(LogSink& log, const Options& options,
                                                           std::string& why) noexcept {
    auto tracker = std::make_unique<LoadedTracker>(log, options);
    GEMEL_TRY(tracker->start(why));
    return std::unique_ptr<ChangeTracker>(std::move(tracker));
}

// Programs end with the last reference to their links.
void ChangeTracker::remove(const std::string& pin_directory) noexcept {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(pin_directory, error)) {
        ::unlink(entry.path().c_str());
    }
}

}  // namespace gemel
