/** The part of jstat that this project uses; the package brings no types. */
declare module 'jstat' {
  const jstat: {
    jStat: {
      studentt: {
        /** Quantile of Student's t: the x with P(T <= x) = p. */
        inv(p: number, degreesOfFreedom: number): number;
        /** P(T <= x). */
        cdf(x: number, degreesOfFreedom: number): number;
      };
      binomial: {
        /** P(X <= k) of n trials. */
        cdf(k: number, n: number, p: number): number;
      };
      normal: {
        inv(p: number, mean: number, standardDeviation: number): number;
      };
    };
  };
  export default jstat;
}
