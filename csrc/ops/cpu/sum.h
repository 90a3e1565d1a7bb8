#pragma once

namespace mpelu::cpu {

/// A sum of doubles that keeps what each addition rounds away (Knuth's two-sum).
class CompensatedSum {
 public:
  void add(double term) {
    const double sum = sum_ + term;
    const double part = sum - sum_;
    lost_ += (sum_ - (sum - part)) + (term - part);
    sum_ = sum;
  }

  /// A sum that is not finite is so whatever was rounded away.
  double value() const { return lost_ - lost_ == 0 ? sum_ + lost_ : sum_; }

 private:
  double sum_ = 0;
  double lost_ = 0;
};

}  // namespace mpelu::cpu
