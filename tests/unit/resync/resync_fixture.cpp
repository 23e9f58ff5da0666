// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/resync/resync_fixture.hpp"

#include "engine/mirror/op_codec.hpp"
#include "engine/store/identity.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

namespace gemel::resync_test {

void WireEnd::send(FrameType type, Bytes head, Bytes body) noexcept {
    wire_->send(side_, type, head, body);
}
std::size_t WireEnd::unsent() const noexcept { return wire_->unsent; }
void WireEnd::close() noexcept { wire_->close(side_); }
void WireEnd::set_handler(PeerLinkHandler& handler) noexcept { wire_->set_handler(side_, handler); }

void Wire::send(int side, FrameType type, Bytes head, Bytes body) {
    if (cut_) return;
    ++counts.frames[type];
    if (type == FrameType::op || type == FrameType::resync_content) {
        counts.content_bytes += body.size();
    }
    Frame frame{type, ByteBuffer(head.begin(), head.end())};
    frame.payload.insert(frame.payload.end(), body.begin(), body.end());
    queues_[side].push_back(std::move(frame));
    const std::uint64_t delay = world_.prng().below(static_cast<std::uint64_t>(delay_max_.ns)) + 1;
    Instant due =
        world_.now() + delay_min_ + Duration::nanoseconds(static_cast<std::int64_t>(delay));
    if (due <= last_due_[side]) due = last_due_[side] + Duration::nanoseconds(1);
    last_due_[side] = due;
    world_.at(due, [self = shared_from_this(), side] { self->deliver(side); });
}

namespace {

std::string describe_frame(int side, FrameType type, Bytes payload) {
    std::string text = side == 0 ? "a: " : "b: ";
    text += std::to_string(static_cast<int>(type));
    if (type == FrameType::op) {
        const Result<DecodedOp> op = decode_op(payload);
        if (!op.ok()) return text + " undecodable op";
        text += " op kind " + std::to_string(static_cast<int>(op->op.kind)) + " object " +
                std::to_string(op->op.object.value) + " parent " +
                std::to_string(op->op.parent.value) + "/" + std::string(op->op.name) + " to " +
                std::to_string(op->op.new_parent.value) + "/" + std::string(op->op.new_name) +
                " flags " + std::to_string(op->op.flags) + " size " + std::to_string(op->op.size) +
                " replaced " + std::to_string(op->op.resolved.replaced.value);
    } else if (side == 0 && type >= FrameType::resync_names && type <= FrameType::resync_content) {
        const Result<ItemHead> head = decode_item_head(payload);
        if (head.ok()) {
            text += " item " + std::to_string(head->number) + " object " +
                    std::to_string(head->object.value);
        }
        if (type == FrameType::resync_names) {
            const Result<NamesItem> item = decode_names(payload);
            for (const auto& [name, id] : item->entries) {
                text += " " + std::string(name) + "=" + std::to_string(id.value);
            }
        }
    }
    return text;
}

}  // namespace

void Wire::deliver(int side) {
    if (cut_ || held_[side] || queues_[side].empty()) return;
    if (++delivered == cut_at) {
        cut();
        return;
    }
    const Frame frame = std::move(queues_[side].front());
    queues_[side].pop_front();
    history.push_back(describe_frame(side, frame.type, frame.payload));
    if (history.size() > 40) history.pop_front();
    if (before_delivery) before_delivery(side, frame.type, frame.payload);
    if (handlers_[1 - side] != nullptr) handlers_[1 - side]->on_frame(frame.type, frame.payload);
    if (after_delivery) after_delivery(side, frame.type);
}

void Wire::cut() {
    if (cut_) return;
    cut_ = true;
    for (PeerLinkHandler*& handler : handlers_) {
        PeerLinkHandler* told = std::exchange(handler, nullptr);
        if (told != nullptr) told->on_lost(Status(Code::disconnected));
    }
}

namespace {

sim::NodeOptions node_options(const std::string& name) {
    sim::NodeOptions options;
    options.name = name;
    return options;
}

Fd open_directory(Side& side, const std::string& path) {
    const Result<Fd> fd = side.loop->vfs().open_directory(path);
    EXPECT_TRUE(fd.ok()) << path << ": " << fd.status().to_string();
    return fd.ok() ? fd.value() : Fd{};
}

}  // namespace

Side::Side(sim::World& world, const std::string& name) : node(world.add_node(node_options(name))) {
    node.make_directories("/tree");
    node.make_directories("/state");
    node.make_directories("/log");
}

void Side::open(const Uuid& volume) {
    loop = &node.start();
    node.make_directories(log_directory);
    DirectoryVolume::Options options;
    options.volume_id = volume;
    options.state_directory = "/state";
    options.exclude = exclude;
    options.open_files_max = open_files_max;
    const Fd root = open_directory(*this, "/tree");
    if (volume.is_none()) {
        const Result<Uuid> found = DirectoryVolume::volume_id_of(loop->vfs(), root);
        options.volume_id = found.ok() ? found.value() : Uuid{{9, 9}};
    }
    Result<std::unique_ptr<DirectoryVolume>> opened =
        DirectoryVolume::open(*loop, node.log(), root, options);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    volumes.push_back(std::move(opened).value());
    if (block_size != 0) {
        const ScopedFd parent(loop->vfs(), open_directory(*this, "/state"));
        auto block = BlockVolume::open(*loop, parent.get(), "disk", {Uuid{{5, 5}}, block_size, {}});
        ASSERT_TRUE(block.ok()) << block.status().to_string();
        volumes.push_back(std::move(block).value());
    }
    Result<std::unique_ptr<IntentLog>> log =
        IntentLog::open(*loop, node.log(), open_directory(*this, log_directory), Uuid{{1}});
    ASSERT_TRUE(log.ok()) << log.status().to_string();
    intents = std::move(log).value();
    replica =
        std::make_unique<Replica>(*loop, node.log(), *intents, volumes, *this, replica_options);
    read_ahead = std::make_unique<ReadAhead>(*loop, *replica);
}

void Side::close() {
    replica.reset();
    read_ahead.reset();
    intents.reset();
    volumes.clear();
}

void Side::on_local_failure(Status reason, const std::string& what) noexcept {
    failures.push_back(what);
    if (on_failure) on_failure(reason);
}

void Side::on_first_write_alone() noexcept {
    loop->post([this] {
        if (replica != nullptr) replica->history_stored(Status());
    });
}

void ResyncTest::begin(std::uint64_t seed, bool same_volume) {
    world_ = std::make_unique<sim::World>(seed);
    a_ = std::make_unique<Side>(*world_, "a");
    b_ = std::make_unique<Side>(*world_, "b");
    for (Side* side : {a_.get(), b_.get()}) {
        side->exclude = ExcludeList();
        side->open_files_max = open_files_max_;
        for (const std::string& pattern : exclude_) ASSERT_EQ(side->exclude.add(pattern), "");
    }
    a_->open(id_);
    b_->open(same_volume ? id_ : Uuid{{8, 8}});
    a_->replica->begin_alone(epoch_);
}

void ResyncTest::TearDown() {
    if (world_ == nullptr) return;
    if (HasFailure()) std::fprintf(stderr, "seed %lu\n", world_->seed());
    a_.reset();
    b_.reset();
    ops_.clear();
    world_.reset();
}

void ResyncTest::connect(bool full, bool must_compare) {
    wire_ = std::make_shared<Wire>(*world_, Duration::milliseconds(2), wire_delay_min_);
    a_->complete = a_->lost = b_->lost = false;
    a_->replica->attach_target(std::make_unique<WireEnd>(wire_, 0));
    a_->replica->set_resync_party(std::make_unique<ResyncSource>(
        *a_->loop, a_->node.log(), *a_->replica, memory_, a_->progress, pacer_, *a_->read_ahead,
        ResyncSource::Options{full}));
    b_->replica->begin_following(std::make_unique<WireEnd>(wire_, 1), true);
    auto target = std::make_unique<ResyncTarget>(
        *b_->loop, b_->node.log(), *b_->replica, b_->progress, *b_->read_ahead,
        ResyncTarget::Options{must_compare, comparison_, false, before_});
    target->start();
    b_->replica->set_resync_party(std::move(target));
}

bool ResyncTest::finish() {
    const bool ended = world_->run_until([&] {
        return (a_->complete && ops_to_come_ == 0) || a_->lost || !a_->failures.empty() ||
               !b_->failures.empty();
    });
    EXPECT_TRUE(ended) << "the resync does not end";
    for (const Side* side : {a_.get(), b_.get()}) {
        for (const std::string& failure : side->failures) {
            ADD_FAILURE() << side->node.name() << ": " << failure;
        }
    }
    if (HasFailure()) {
        for (const std::string& line : wire_->history) std::fprintf(stderr, "%s\n", line.c_str());
    }
    return a_->complete && !a_->lost && a_->failures.empty() && b_->failures.empty();
}

void ResyncTest::join() {
    a_->replica->begin_attaching();
    a_->replica->finish_attaching(true);
    b_->replica->promote_to_secondary();
}

void ResyncTest::join_and_rest() {
    join();
    world_->run_for(Duration::seconds(45));
    ASSERT_EQ(a_->intents->live_count(), 0U);
    ASSERT_EQ(b_->intents->live_count(), 0U);
}

TestOp& ResyncTest::submit_first(std::unique_ptr<TestOp> op,
                                 std::initializer_list<ObjectId> names) {
    op->op.name = op->name;
    op->op.new_name = op->new_name;
    std::vector<IntentKey> keys;
    for (const ObjectId directory : names) keys.push_back({directory, IntentKey::kNames, 0});
    bool durable = false;
    a_->intents->touch(keys);
    a_->intents->commit([&](Status status) { durable = status.ok(); });
    // The log is quicker than the wire: nothing has arrived yet.
    EXPECT_TRUE(world_->run_until([&] { return durable; }));
    TestOp& submitted = *op;
    ops_.push_back(std::move(op));
    wire_->after_delivery = [this, &submitted](int side, FrameType type) {
        if (side == 1 && type == FrameType::resync_intents) a_->replica->submit(submitted);
    };
    return submitted;
}

std::unique_ptr<TestOp> ResyncTest::make_rename(ObjectId parent, std::string_view name,
                                                ObjectId new_parent, std::string_view new_name) {
    auto op = std::make_unique<TestOp>();
    op->op.kind = OpKind::rename;
    op->op.parent = parent;
    op->name = name;
    op->op.new_parent = new_parent;
    op->new_name = new_name;
    return op;
}

void ResyncTest::expect_good_end() {
    ASSERT_TRUE(finish());
    join();
    ASSERT_TRUE(world_->run_until([&] { return a_->replica->all_acknowledged(); }));
    expect_equal();
}

void ResyncTest::close_session() {
    wire_->cut();
    b_->replica->stop();
}

void ResyncTest::lose_target_and_its_log() {
    b_->node.power_cut();
    b_->close();
    wire_->cut();
    a_->replica->begin_alone(++epoch_);
    b_->log_directory = "/new-log";
    b_->open(Uuid{});
}

void ResyncTest::go_alone() {
    close_session();
    if (a_->replica->role() == ReplicaRole::held) a_->replica->begin_alone(++epoch_);
}

Status ResyncTest::run(TestOp& op) {
    op.op.name = op.name;
    op.op.new_name = op.new_name;
    op.op.data = as_bytes(op.data);
    a_->replica->submit(op);
    EXPECT_TRUE(world_->run_until([&] { return op.done; }));
    return op.outcome;
}

ObjectId ResyncTest::create(ObjectId parent, std::string_view name, std::uint32_t mode,
                            std::string_view data) {
    TestOp op;
    op.op.kind = OpKind::create;
    op.op.parent = parent;
    op.name = name;
    op.data = data;
    op.op.mode = mode;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << name << ": " << status.to_string();
    return op.op.object;
}

ObjectId ResyncTest::make_file(ObjectId parent, std::string_view name, std::string_view content) {
    const ObjectId id = create(parent, name, S_IFREG | 0644);
    if (!content.empty()) write(id, 0, content);
    return id;
}

void ResyncTest::write(ObjectId object, std::uint64_t offset, std::string_view data) {
    TestOp op;
    op.op.kind = OpKind::write;
    op.op.object = object;
    op.op.offset = offset;
    op.op.size = data.size();
    op.data = data;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << status.to_string();
}

void ResyncTest::truncate(ObjectId object, std::uint64_t size) {
    TestOp op;
    op.op.kind = OpKind::truncate;
    op.op.object = object;
    op.op.size = size;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << status.to_string();
}

void ResyncTest::rename(ObjectId parent, std::string_view name, ObjectId new_parent,
                        std::string_view new_name, std::uint32_t flags) {
    TestOp op;
    op.op.kind = OpKind::rename;
    op.op.parent = parent;
    op.name = name;
    op.op.new_parent = new_parent;
    op.new_name = new_name;
    op.op.flags = flags;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << name << " to " << new_name << ": " << status.to_string();
}

void ResyncTest::link(ObjectId object, ObjectId parent, std::string_view name) {
    TestOp op;
    op.op.kind = OpKind::link;
    op.op.object = object;
    op.op.parent = parent;
    op.name = name;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << name << ": " << status.to_string();
}

void ResyncTest::unlink(ObjectId parent, std::string_view name, bool directory) {
    TestOp op;
    op.op.kind = directory ? OpKind::remove_directory : OpKind::unlink;
    op.op.parent = parent;
    op.name = name;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << name << ": " << status.to_string();
}

void ResyncTest::set_xattr(ObjectId object, std::string_view name, std::string_view value) {
    TestOp op;
    op.op.kind = OpKind::set_xattr;
    op.op.object = object;
    op.name = name;
    op.data = value;
    const Status status = run(op);
    EXPECT_TRUE(status.ok()) << name << ": " << status.to_string();
}

ObjectId ResyncTest::id_of(ObjectId parent, std::string_view name) {
    const Result<Attributes> found = a_->volume().lookup(parent, name);
    EXPECT_TRUE(found.ok()) << name;
    return found.ok() ? found->id : kNoObject;
}

void ResyncTest::plant(Side& side, const std::string& path, std::string_view content) {
    Vfs& vfs = side.loop->vfs();
    const std::size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "" : "/" + path.substr(0, slash);
    side.node.make_directories("/tree" + directory);
    const ScopedFd parent(vfs, open_directory(side, "/tree" + directory));
    const Result<Fd> file =
        vfs.open_at(parent.get(), path.substr(slash + 1), O_RDWR | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(file.ok()) << path << ": " << file.status().to_string();
    const ScopedFd scoped(vfs, file.value());
    for (std::size_t done = 0; done < content.size();) {
        const Result<std::size_t> written =
            vfs.pwrite(file.value(), as_bytes(content.substr(done)), done);
        ASSERT_TRUE(written.ok());
        done += written.value();
    }
}

std::vector<ResyncTest::Known> ResyncTest::walk_ids() {
    std::vector<Known> known{{kNoObject, kRootObject, "", S_IFDIR}};
    for (std::size_t i = 0; i < known.size(); ++i) {
        if (!S_ISDIR(known[i].mode)) continue;
        const ObjectId directory = known[i].id;
        std::vector<ListedEntry> entries;
        std::uint64_t position = 0;
        for (;;) {
            const std::size_t seen = entries.size();
            EXPECT_TRUE(a_->volume().list(directory, position, 64, entries).ok());
            if (entries.size() == seen) break;
            position = entries.back().next;
        }
        for (const ListedEntry& entry : entries) {
            known.push_back({directory, entry.id, entry.name, entry.mode});
        }
    }
    return known;
}

std::unique_ptr<TestOp> ResyncTest::random_op() {
    Prng& prng = world_->prng();
    const std::vector<Known> known = walk_ids();
    std::vector<ObjectId> directories, files;
    for (const Known& one : known) {
        if (S_ISDIR(one.mode)) directories.push_back(one.id);
        if (S_ISREG(one.mode)) files.push_back(one.id);
    }
    for (const ObjectId orphan : orphans_) files.push_back(orphan);
    const auto any_directory = [&] { return directories[prng.below(directories.size())]; };
    const auto any_name = [&] { return std::string(1, static_cast<char>('a' + prng.below(5))); };
    const Known& some = known[prng.below(known.size())];
    auto op = std::make_unique<TestOp>();
    Op& request = op->op;
    const std::uint64_t dice = prng.below(100);
    if (known.size() < 12 || dice < 22) {
        request.kind = OpKind::create;
        request.parent = any_directory();
        op->name = any_name();
        const std::uint64_t type = prng.below(10);
        request.mode = type < 4 ? S_IFDIR | 0755U : type < 9 ? S_IFREG | 0640U : S_IFLNK | 0777U;
        if (S_ISLNK(request.mode)) op->data = "target";
        if (type == 8) request.mode = S_IFIFO | 0600U;
    } else if (dice < 45 && !files.empty()) {
        request.object = files[prng.below(files.size())];
        request.offset = prng.below(40) * 8192;
        const std::uint64_t kind = prng.below(10);
        if (kind < 6) {
            request.kind = OpKind::write;
            op->data.assign(1 + prng.below(100'000), static_cast<char>('A' + prng.below(26)));
            request.size = op->data.size();
        } else if (kind < 8) {
            request.kind = OpKind::truncate;
            request.size = prng.below(400'000);
        } else {
            request.kind = OpKind::allocate;
            request.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
            request.size = 4096 + prng.below(20) * 8192;
        }
    } else if (dice < 65) {
        request.kind = OpKind::rename;
        request.parent = some.parent.is_none() ? kRootObject : some.parent;
        op->name = some.name.empty() ? "a" : some.name;
        request.new_parent = any_directory();
        op->new_name = any_name();
        request.flags = prng.one_in(4) ? RENAME_EXCHANGE : 0U;
    } else if (dice < 72 && !files.empty()) {
        request.kind = OpKind::link;
        request.object = files[prng.below(files.size())];
        request.parent = any_directory();
        op->name = any_name();
        // An orphan is linked again by nobody.
        for (const ObjectId orphan : orphans_) {
            if (orphan == request.object) request.object = kNoObject;
        }
    } else if (dice < 86) {
        request.kind = S_ISDIR(some.mode) ? OpKind::remove_directory : OpKind::unlink;
        request.parent = some.parent.is_none() ? kRootObject : some.parent;
        op->name = some.name.empty() ? "a" : some.name;
        if (S_ISREG(some.mode)) request.object_in_use = prng.one_in(4);
    } else if (dice < 90 && !orphans_.empty()) {
        request.kind = OpKind::release_orphan;
        request.object = orphans_.back();
        orphans_.pop_back();
    } else if (dice < 95) {
        request.kind = OpKind::set_xattr;
        request.object = some.id;
        op->name = prng.one_in(2) ? "trusted.x" : "trusted.y";
        op->data.assign(1 + prng.below(60), static_cast<char>('0' + prng.below(10)));
    } else {
        request.kind = OpKind::set_attributes;
        request.object = some.id;
        request.mask = kSetOwner | kSetModified | kSetAccessed;
        if (!S_ISLNK(some.mode)) request.mask |= kSetMode;
        request.mode = static_cast<std::uint32_t>(prng.below(01000));
        request.uid = static_cast<std::uint32_t>(prng.below(5));
        request.gid = static_cast<std::uint32_t>(prng.below(5));
        request.accessed = {static_cast<std::int64_t>(prng.below(1'000'000)), 5};
        request.modified = {static_cast<std::int64_t>(prng.below(1'000'000)), 7};
    }
    request.name = op->name;
    request.new_name = op->new_name;
    request.data = as_bytes(op->data);
    return op;
}

void ResyncTest::random_ops(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::unique_ptr<TestOp> op = random_op();
        const Status status = run(*op);
        if (status.ok() && op->op.resolved.object_orphaned) orphans_.push_back(op->op.object);
    }
}

void ResyncTest::submit_one(Duration gap_max) {
    if (ops_to_come_ == 0 || a_->replica == nullptr || !a_->replica->is_serving()) {
        ops_to_come_ = 0;
        return;
    }
    // Its predecessor decides what it is about.
    if (!ops_.empty() && !ops_.back()->done) {
        world_->after(Duration::microseconds(20), [this, gap_max] { submit_one(gap_max); });
        return;
    }
    if (!ops_.empty() && ops_.back()->outcome.ok() && ops_.back()->op.resolved.object_orphaned) {
        orphans_.push_back(ops_.back()->op.object);
    }
    --ops_to_come_;
    ops_.push_back(random_op());
    a_->replica->submit(*ops_.back());
    const std::uint64_t gap = world_->prng().below(static_cast<std::uint64_t>(gap_max.ns)) + 1;
    world_->after(Duration::nanoseconds(static_cast<std::int64_t>(gap)),
                  [this, gap_max] { submit_one(gap_max); });
}

void ResyncTest::random_ops_meanwhile(std::size_t count, Duration gap_max) {
    ops_.clear();
    ops_to_come_ = count;
    submit_one(gap_max);
}

namespace {

struct Walker {
    Side& side;
    bool local = false;  // what is asked for
    std::map<std::string, std::string> tree;
    std::map<std::uint64_t, std::string> groups;

    Vfs& vfs() { return side.loop->vfs(); }

    std::string content(Fd parent, const std::string& name, std::uint64_t size) {
        const Result<Fd> file = vfs().open_at(parent, name, O_RDONLY | O_NOATIME, 0);
        if (!file.ok()) return "unreadable";
        const ScopedFd scoped(vfs(), file.value());
        std::string text;
        Chunk chunk;
        for (std::uint64_t offset = 0; offset < size; offset += kChunkSizeMax) {
            EXPECT_TRUE(read_chunk(vfs(), file.value(), offset,
                                   std::min(kChunkSizeMax, size - offset), Zeros::data, chunk)
                            .ok());
            for (const DataSegment& segment : chunk.segments) {
                text += std::to_string(offset + segment.begin) + "-" +
                        std::to_string(offset + segment.end) + " ";
            }
            text += std::to_string(digest128(chunk.data).low) + " ";
        }
        return text;
    }

    std::string describe(Fd parent, const std::string& name, const std::string& path) {
        const Result<Fd> fd = vfs().open_at(parent, name, O_PATH, 0);
        EXPECT_TRUE(fd.ok()) << path;
        const ScopedFd scoped(vfs(), fd.value());
        const Result<FileStat> stat = vfs().stat(fd.value());
        char text[256];
        std::snprintf(text, sizeof text, "%o %u:%u size %lu rdev %lu m %ld.%09u a %ld.%09u ",
                      stat->mode, stat->uid, stat->gid, S_ISDIR(stat->mode) ? 0 : stat->size,
                      stat->special_device, stat->modified.seconds, stat->modified.nanoseconds,
                      stat->accessed.seconds, stat->accessed.nanoseconds);
        std::string all = text;
        const Result<Identity> identity = read_identity(vfs(), fd.value());
        if (identity.ok()) {
            all += "id " + std::to_string(identity->object.value) + " ";
            if (identity->local) all += "local ";
        }
        if (!S_ISDIR(stat->mode)) {
            // All names of one object: the first one's path.
            all += "links " + std::to_string(stat->link_count) + " as " +
                   groups.emplace(stat->inode, path).first->second + " ";
        }
        const Result<std::vector<std::string>> xattrs = vfs().list_xattrs(fd.value());
        for (const std::string& xattr : xattrs.ok() ? xattrs.value() : std::vector<std::string>()) {
            if (xattr == kIdentityAttribute) continue;
            std::byte buffer[256];
            const Result<std::size_t> size = vfs().get_xattr(fd.value(), xattr, buffer);
            if (size.ok()) {
                all += xattr + "=" + std::string(as_text(Bytes(buffer).first(size.value()))) + " ";
            }
        }
        if (S_ISREG(stat->mode)) all += content(parent, name, stat->size);
        if (S_ISLNK(stat->mode)) {
            const Result<ByteBuffer> target = vfs().read_link(fd.value());
            if (target.ok()) all += as_text(target.value());
        }
        return all;
    }

    void walk(Fd directory, const std::string& prefix, ExcludeList::Place place, bool inside) {
        std::vector<DirectoryEntry> entries;
        EXPECT_TRUE(vfs().read_directory(directory, 0, 100'000, entries).ok());
        std::sort(entries.begin(), entries.end(),
                  [](const auto& one, const auto& other) { return one.name < other.name; });
        for (const DirectoryEntry& entry : entries) {
            if (prefix.empty() && entry.name == ".gemel") continue;
            const std::string path = prefix + entry.name;
            const Result<Fd> child =
                vfs().open_at(directory, entry.name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
            const bool excluded = inside || side.exclude.excludes(place, entry.name, child.ok());
            const std::string text = describe(directory, entry.name, path);
            const bool says_local = text.find(" local ") != text.npos;
            const bool is_private = path.starts_with(".gemel");
            if ((is_private ? says_local : excluded) == local) tree[path] = text;
            if (!child.ok()) continue;
            const ScopedFd scoped(vfs(), child.value());
            walk(child.value(), path + "/",
                 excluded || is_private ? place : side.exclude.below(place, entry.name), excluded);
        }
    }
};

}  // namespace

namespace {

std::map<std::string, std::string> walk_tree(Side& side, bool local) {
    Walker walker{side, local, {}, {}};
    const ScopedFd root(walker.vfs(), open_directory(side, "/tree"));
    if (!local) walker.tree["."] = walker.describe(root.get(), ".", ".");
    walker.walk(root.get(), "", side.exclude.root(), false);
    for (const char* hidden : {"orphans", "detached", "incoming"}) {
        const ScopedFd directory(walker.vfs(),
                                 open_directory(side, std::string("/tree/.gemel/") + hidden));
        walker.walk(directory.get(), std::string(".gemel/") + hidden + "/", side.exclude.root(),
                    false);
    }
    return walker.tree;
}

}  // namespace

std::map<std::string, std::string> tree_of(Side& side) { return walk_tree(side, false); }
std::map<std::string, std::string> local_tree_of(Side& side) { return walk_tree(side, true); }

void ResyncTest::expect_equal(const std::string& when) {
    const auto left = tree_of(*a_);
    const auto right = tree_of(*b_);
    std::size_t shown = 0;
    for (const auto& [path, text] : left) {
        const auto there = right.find(path);
        if (there != right.end() && there->second == text) continue;
        ADD_FAILURE() << when << " " << path << "\n  source " << text << "\n  target "
                      << (there == right.end() ? "missing" : there->second);
        if (++shown > 5) return;
    }
    for (const auto& [path, text] : right) {
        if (left.contains(path)) continue;
        ADD_FAILURE() << when << " only at the target: " << path << " " << text;
        if (++shown > 5) return;
    }
}

}  // namespace gemel::resync_test
