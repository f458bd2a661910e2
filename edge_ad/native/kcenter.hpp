#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace edge_ad {

// Greedy k-centre selection (Gonzalez 1985), with the picks of the plain algorithm: each time the point
// farthest from all centres so far, ties to the lowest index.
class KCenter {
  public:
    // points: [size][dim], kept by reference. basis: [kSketch][dim] with orthonormal rows, or null; it saves
    // distances where most of the spread of the points lies along its rows, and changes no pick. Throws Fault
    // when a distance to the first centre is not finite, or the rows are not orthonormal.
    KCenter(const float* points, std::size_t size, std::size_t dim, std::size_t start, const float* basis,
            Pool& pool);

    // Picks up to n more centres; fewer when every point left is a duplicate of a centre.
    std::size_t advance(std::size_t n, Pool& pool);
    const std::vector<std::int32_t>& selected() const { return selected_; }
    void nearest(std::int32_t* found) const;  // [size] which of selected() each point is nearest to
    float radius() const;

  private:
    // The points that are nearest to one centre, in any order.
    struct Cluster {
        std::vector<std::int32_t> ids;
        std::vector<float> squared;   // distances to the centre
        std::vector<float> sketches;  // [.][kSketch]; empty without a basis

        void add(std::int32_t id, float distance, const float* sketch);
        void remove(std::size_t at);
    };
    // A cluster that may lose points to a new centre: those that are farther than the limit.
    struct Open {
        std::size_t cluster;
        float limit;
    };
    // Points [first, last) of such a cluster. The first `moved` numbers of moved_ and taken_ from `room` on
    // are of those that are nearer to the new centre, counted from `first`; `most` is of the others.
    struct Piece {
        Open open;
        std::size_t first, last, room, moved;
        float most;
    };

    void set_sketches(const float* basis, std::size_t start, Pool& pool);
    void pick(Pool& pool);
    std::int32_t take_farthest(float* sketch) const;
    void find_open(const float* centre, const float* sketch);
    void find_nearer(const float* centre, const float* sketch, Pool& pool);
    void move_nearer();
    const float* point(std::size_t i) const { return points_ + i * dim_; }

    const float* points_;
    std::size_t size_, dim_;
    bool sketched_ = false;
    std::vector<std::int32_t> selected_;
    std::vector<Cluster> clusters_;  // of selected_
    std::vector<float> most_;        // the largest squared distance in each
    std::vector<float> sketches_;    // [centres][kSketch], of selected_
    float farthest_ = 0.0f;          // the largest of most_
    // points whose sketches are farther apart than factor * s + slack, squared distances, are beyond s
    float factor_ = 1.0f, slack_ = 0.0f;

    // working memory of a pick
    std::vector<Open> open_;
    std::vector<Piece> pieces_;
    std::vector<std::int32_t> ids_, moved_;
    std::vector<float> apart_, taken_;
};

}  // namespace edge_ad
