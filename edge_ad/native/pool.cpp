#include "pool.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include "error.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace edge_ad {
namespace {

// How long an idle worker looks for the next run before it sleeps: less than a wake-up costs.
constexpr auto kSpin = std::chrono::microseconds(30);

void relax_cpu() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Tells a forked child from its parent; Windows knows no fork.
long process_id() {
#if defined(_WIN32)
    return 0;
#else
    return getpid();
#endif
}

template <typename Ready>
bool spin_until(const Ready& ready) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 32; ++i) {
            if (ready()) return true;
            relax_cpu();
        }
    } while (std::chrono::steady_clock::now() < until);
    return ready();
}

void pin(std::thread& thread, int core) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (core < 0 || core >= CPU_SETSIZE)
        throw Fault("cannot pin to this core", "a CPU id", std::to_string(core));
    CPU_SET(static_cast<std::size_t>(core), &set);
    if (pthread_setaffinity_np(thread.native_handle(), sizeof set, &set) != 0)
        throw Fault("cannot pin a thread to this core", "a CPU this process may use", std::to_string(core));
#else
    (void)thread;
    throw Fault("threads cannot be pinned on this operating system", "no cores", std::to_string(core));
#endif
}

struct Job {
    const Pool::Work* work;
    std::size_t tasks;
    std::atomic<std::size_t> next{0};
    std::mutex guard;
    std::exception_ptr error;

    void take_part(Scratch& scratch) {
        for (std::size_t task = next++; task < tasks; task = next++) {
            try {
                (*work)(task, scratch);
            } catch (...) {
                const std::lock_guard lock(guard);
                if (!error) error = std::current_exception();
                next = tasks;
            }
        }
    }
};

}  // namespace

void Scratch::Free::operator()(void* p) const {
    ::operator delete(p, std::align_val_t(64));
}

void* Scratch::bytes(std::size_t slot, std::size_t count, std::size_t size) {
    if (count > std::numeric_limits<std::size_t>::max() / 2 / size) throw std::bad_alloc();
    if (slot >= blocks_.size()) blocks_.resize(slot + 1);
    Block& block = blocks_[slot];
    if (block.size < count * size) {
        block.data.reset();
        block.size = 0;
        block.data.reset(::operator new(count * size, std::align_val_t(64)));
        block.size = count * size;
    }
    return block.data.get();
}

// The workers of one stream in one process. They are pinned to the cores from number `first` on.
class Pool::Crew {
  public:
    Crew(std::size_t threads, const std::vector<int>& cores, std::size_t first)
        : pid_(process_id()), scratch_(threads) {
        try {
            for (std::size_t k = 1; k < threads; ++k) {
                workers_.emplace_back([this, k] { serve(scratch_[k]); });
                if (!cores.empty()) pin(workers_.back(), cores[(first + k) % cores.size()]);
            }
        } catch (const std::system_error& error) {
            dismiss();
            throw Fault("cannot start a thread", std::to_string(threads) + " threads", error.what());
        } catch (...) {
            dismiss();
            throw;
        }
    }
    ~Crew() { dismiss(); }
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    long pid() const { return pid_; }

    // Whether it was free, and has run.
    bool try_run(std::size_t tasks, const Work& work) {
        std::unique_lock turn(turn_, std::try_to_lock);
        if (turn.owns_lock()) run_now(tasks, work);
        return turn.owns_lock();
    }

    void run(std::size_t tasks, const Work& work) {
        const std::lock_guard turn(turn_);
        run_now(tasks, work);
    }

  private:
    void run_now(std::size_t tasks, const Work& work) {
        Job job{&work, tasks, {}, {}, {}};
        const bool shared = tasks > 1 && !workers_.empty();
        if (shared) open(job);
        job.take_part(scratch_[0]);
        if (shared) close();
        if (job.error) std::rethrow_exception(job.error);
    }

    void open(Job& job) {
        {
            const std::lock_guard lock(guard_);
            job_ = &job;
            ++runs_;
        }
        if (job.tasks > workers_.size()) {
            wake_.notify_all();
        } else {
            for (std::size_t k = 1; k < job.tasks; ++k) wake_.notify_one();
        }
    }

    // A worker that has not joined by now never sees the job; those that have are waited for.
    void close() {
        {
            const std::lock_guard lock(guard_);
            job_ = nullptr;
        }
        if (spin_until([this] { return active_.load(std::memory_order_acquire) == 0; })) return;
        std::unique_lock lock(guard_);
        idle_.wait(lock, [this] { return active_ == 0; });
    }

    void serve(Scratch& scratch) {
        std::uint64_t seen = 0;
        for (;;) {
            spin_until([&] { return runs_.load(std::memory_order_acquire) != seen; });
            Job* job = nullptr;
            {
                std::unique_lock lock(guard_);
                wake_.wait(lock, [&] { return stop_ || runs_ != seen; });
                if (stop_) return;
                seen = runs_;
                job = job_;
                if (job == nullptr) continue;
                ++active_;
            }
            job->take_part(scratch);
            const std::lock_guard lock(guard_);
            if (--active_ == 0) idle_.notify_one();
        }
    }

    void dismiss() {
        {
            const std::lock_guard lock(guard_);
            stop_ = true;
            ++runs_;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
        workers_.clear();
    }

    const long pid_;
    std::vector<Scratch> scratch_;  // [0] is the calling thread's
    std::mutex turn_;               // held for a whole run
    std::mutex guard_;              // guards what follows
    std::condition_variable wake_, idle_;
    Job* job_ = nullptr;
    std::atomic<std::uint64_t> runs_{0};
    std::atomic<std::size_t> active_{0};
    bool stop_ = false;
    std::vector<std::thread> workers_;
};

Pool::Pool(std::size_t threads, std::vector<int> cores, std::size_t streams)
    : threads_(threads == 0 ? 1 : threads), cores_(std::move(cores)), crews_(streams == 0 ? 1 : streams) {
    std::vector<std::unique_ptr<Crew>> crews;  // all of them, or none
    for (std::size_t stream = 0; stream < crews_.size(); ++stream) crews.emplace_back(made(stream));
    for (std::size_t stream = 0; stream < crews_.size(); ++stream) crews_[stream] = crews[stream].release();
}

Pool::Crew* Pool::made(std::size_t stream) const {
    return new Crew(threads_, cores_, stream * threads_);
}

// After a fork the parent's crew is only a picture of one: its threads and locks are not here. It is left
// alone, memory and all.
Pool::~Pool() {
    for (const std::atomic<Crew*>& crew : crews_) {
        Crew* mine = crew.load();
        if (mine->pid() == process_id()) delete mine;
    }
}

Pool::Crew& Pool::crew(std::size_t stream) {
    std::atomic<Crew*>& crew = crews_[stream];
    Crew* current = crew.load(std::memory_order_acquire);
    if (current->pid() == process_id()) return *current;
    Crew* fresh = made(stream);
    if (crew.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
    return *current;
}

void Pool::run(std::size_t tasks, const Work& work) {
    if (tasks == 0) return;
    if (crews_.size() > 1) {
        for (std::size_t stream = 0; stream < crews_.size(); ++stream)
            if (crew(stream).try_run(tasks, work)) return;
    }
    crew(turn_++ % crews_.size()).run(tasks, work);
}

}  // namespace edge_ad
