/** What each kind of hook point is. */
export const HOOK_MEANING: Record<string, string> = {
  resid_pre: "The residual stream before the block",
  resid_mid: "The residual stream after attention, before the MLP",
  resid_post: "The residual stream after the block",
  mlp_in: "What the MLP reads (after its norm)",
  mlp_out: "What the MLP adds to the residual stream",
  attn_out: "What attention adds to the residual stream",
  attn_z: "The heads' outputs, side by side, before they are mixed",
};
