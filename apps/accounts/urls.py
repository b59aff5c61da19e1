"""The pages of the people room, and what each of them asks for."""

from apps.accounts.roles import Capability, Rule
from apps.accounts.routing import page
from apps.accounts.views import account, entry, members, tokens

MEMBERS = Rule.clinic(Capability.MEMBER_MANAGE)
TOKENS = Rule.clinic(Capability.TOKEN_MANAGE)

urlpatterns = [
    page("", entry.home, Rule.signed_in(), name="home"),
    page("clinics/", entry.choose_clinic, Rule.signed_in(), name="clinics"),
    page("sign-in/", entry.sign_in, Rule.public(), name="sign-in"),
    page("sign-in/code/", entry.verify, Rule.password_only(), name="verify"),
    page("sign-in/enrol/", entry.enrol, Rule.password_only(), name="enrol"),
    page("sign-in/enrol/qr.svg", entry.enrolment_qr, Rule.password_only(), name="enrolment-qr"),
    page("sign-out/", entry.sign_out, Rule.password_only(), name="sign-out"),
    page("invitation/<str:token>/", entry.invitation, Rule.public(), name="invitation"),
    page("password/reset/", entry.request_reset, Rule.public(), name="password-reset"),
    page(
        "password/reset/<str:public_id>/<str:token>/",
        entry.reset_password,
        Rule.public(),
        name="password-reset-confirm",
    ),
    page("account/password/", account.change_password, Rule.signed_in(), name="password-change"),
    page("account/sessions/", account.sessions, Rule.signed_in(), name="sessions"),
    page("account/sessions/end-others/", account.end_other_sessions, Rule.signed_in(), name="sessions-end-others"),
    page("account/sessions/<str:public_id>/end/", account.end_session, Rule.signed_in(), name="session-end"),
    page("account/factors/", account.factors, Rule.signed_in(), name="factors"),
    page("account/factors/codes/", account.new_recovery_codes, Rule.signed_in(step_up=True), name="recovery-codes"),
    page(
        "account/factors/<str:public_id>/remove/",
        account.remove_factor,
        Rule.signed_in(step_up=True),
        name="factor-remove",
    ),
    page("account/activity/", account.activity, Rule.signed_in(), name="activity"),
    page("c/<slug:clinic_slug>/members/", members.members, MEMBERS, name="members"),
    page("c/<slug:clinic_slug>/members/invite/", members.invite, MEMBERS, name="member-invite"),
    page(
        "c/<slug:clinic_slug>/members/invitations/<str:public_id>/withdraw/",
        members.withdraw_invitation,
        MEMBERS,
        name="invitation-withdraw",
    ),
    page("c/<slug:clinic_slug>/members/<str:public_id>/", members.member, MEMBERS, name="member"),
    page("c/<slug:clinic_slug>/members/<str:public_id>/remove/", members.remove_member, MEMBERS, name="member-remove"),
    page("c/<slug:clinic_slug>/members/<str:public_id>/grants/", members.add_grant, MEMBERS, name="grant-add"),
    page(
        "c/<slug:clinic_slug>/members/<str:public_id>/grants/<str:reference>/remove/",
        members.remove_grant,
        MEMBERS,
        name="grant-remove",
    ),
    page("c/<slug:clinic_slug>/tokens/", tokens.tokens, TOKENS, name="tokens"),
    page("c/<slug:clinic_slug>/tokens/<str:public_id>/revoke/", tokens.revoke_token, TOKENS, name="token-revoke"),
]
