/** Files that the build compresses (vite.config.ts): the address of the compressed file. */
declare module "*?gzip" {
  const address: string;
  export default address;
}
